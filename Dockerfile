# gpu-ssl on an NVIDIA GPU; the host needs driver 580 or newer and the NVIDIA container toolkit.
#
#   docker build --tag gpu-ssl .
#   mkdir -p runs && chmod a+w runs
#   docker run --gpus all --volume "$PWD/runs:/home/user/runs" --volume gpu-ssl-cache:/home/user/.cache gpu-ssl \
#     run --labels all --output runs/first
#
# The second volume keeps data sets, encoders and the kernels that CuPy compiles, 11 s of a first run.
#
# The wheels bring CUDA's libraries, so the base is the smallest of NVIDIA's images.
FROM nvidia/cuda:13.0.1-base-ubuntu24.04

RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

# Not as root: what a run leaves in a mounted folder belongs to a user.
RUN useradd --create-home --uid 1001 user
USER user
WORKDIR /home/user
RUN mkdir .cache && python3 -m venv .venv && .venv/bin/pip install --no-cache-dir --upgrade pip
ENV PATH=/home/user/.venv/bin:$PATH CUPY_CACHE_DIR=/home/user/.cache/cupy

COPY --chown=user pyproject.toml README.md LICENSE source/
COPY --chown=user gpu_ssl source/gpu_ssl
RUN pip install --no-cache-dir "./source[gpu]"

HEALTHCHECK --interval=5m --timeout=2m CMD ["gpu-ssl", "doctor", "--device", "cuda"]
ENTRYPOINT ["gpu-ssl"]
CMD ["--help"]
