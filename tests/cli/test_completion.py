"""Completion in the shells that people have, by the lines of docs/how-to/shell-completion.md."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "shell-completion.md"

ASK = {
    "bash": "COMP_WORDS=(gpu-ssl {words}); COMP_CWORD={last}; _gpu_ssl_completion gpu-ssl; "
    'printf "%s\\n" "${{COMPREPLY[@]}}"',
    "zsh": "words=(gpu-ssl {words}); CURRENT={last}+1; _gpu_ssl_completion",
    "fish": 'complete -C "gpu-ssl {words}"',
}
"""What the shell does when Tab is pressed after `words`."""

ZSH = "compdef() { :; }; _describe() { print -rl -- $completions_with_descriptions; }; "
"""Stand-ins for what only an interactive zsh has."""


@pytest.mark.parametrize("shell", ASK)
def test_a_shell_completes_commands_and_options(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    (line,) = re.findall(rf"^\| {shell} \| .* \| `(.*)` \|$", PAGE.read_text(), re.MULTILINE)
    line = line.replace("\\|", "|")
    before = ZSH if shell == "zsh" else ""
    for words, last, expected in (("lab", 1, "label"), ("run --baselin", 2, "--baselines")):
        script = f"{before}{line}; {ASK[shell].format(words=words, last=last)}"
        done = subprocess.run(
            [shell, "-c", script],
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        found = {re.split(r"[:\t]", each)[0] for each in done.stdout.splitlines()}
        assert expected in found, (script, done.stdout, done.stderr)
