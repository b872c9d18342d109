"""What each phase costs on this machine: measured in fresh processes, recorded raw, compared with care."""
