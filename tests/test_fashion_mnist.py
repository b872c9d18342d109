"""The default on real Fashion-MNIST, cut short: two epochs, one number of labels."""

from pathlib import Path

from gpu_ssl import experiment
from gpu_ssl.config import RunConfig, TrainConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.runtime.progress import Silent


def test_two_epochs_beat_both_baselines_at_600_labels(fashion_mnist: Dataset, tmp_path: Path) -> None:
    config = RunConfig(train=TrainConfig(epochs=2), labels=(600,), splits=3)
    outcome = experiment.run(config, tmp_path, Silent())
    means = {result.method: result.accuracy_mean for result in outcome.report.results}
    assert means["m1"] > 0.80
    assert means["m1"] > max(means["raw-svc"], means["pca-svc"])
    # The baselines are known (shared trials: 79.45 % and 78.69 % over other splits).
    assert 0.77 < means["raw-svc"] < 0.82
    assert 0.76 < means["pca-svc"] < 0.82
    assert [p.labels for p in outcome.report.published] == [600]
