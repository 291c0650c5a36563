"""Settings of a SLURM whose nodes are the machines of a lab, with waiting times that suit tests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

# With these a lost node is noticed within 20 s instead of 40; a busy machine may then lose nodes that are only slow.
HASTY = {"SlurmdTimeout": "5", "MessageTimeout": "4"}
PROGRAMS = ("munged", "slurmctld", "slurmd", "scontrol", "sinfo", "sbatch", "srun")


def write_settings(
    folder: Path,
    nodes: Sequence[str],
    cpus: int,
    memory_mb: int,
    gpus: Sequence[Path],
    settings: Mapping[str, str],
    more: Sequence[str] = (),
) -> Path:
    """Write ``slurm.conf`` and ``gres.conf``; ``settings`` replace lines of the first, ``more`` are added to it."""
    names = ",".join(nodes)
    lines = {
        "ClusterName": "lab",
        "SlurmctldHost": "login",
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "AuthType": "auth/munge",
        # A requeued job waits until its old credential has expired.
        "AuthInfo": "cred_expire=5",
        "CredType": "cred/munge",
        "StateSaveLocation": f"{folder}/machines/login/state",
        "SlurmdSpoolDir": f"{folder}/machines/%n/spool",
        "SlurmctldLogFile": f"{folder}/machines/login/slurmctld.log",
        "SlurmdLogFile": f"{folder}/machines/%n/slurmd.log",
        "SlurmctldPidFile": "/run/slurmctld.pid",
        "SlurmdPidFile": "/run/slurmd.pid",
        # No cgroups: they belong to the real machine.
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/none",
        "AccountingStorageType": "accounting_storage/none",
        "SwitchType": "switch/none",
        "MpiDefault": "none",
        "MailProg": "/bin/true",
        "PropagateResourceLimits": "NONE",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        "DefMemPerCPU": str(max(1, memory_mb // cpus)),
        # Nodes have the size written here, whatever the machine below them has.
        "SlurmdParameters": "config_overrides",
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": "batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1",
        "JobRequeue": "1",
        "KillWait": "5",
        "SlurmdTimeout": "15",
        "ReturnToService": "2",
        # Finished jobs stay visible for the whole life of the lab.
        "MinJobAge": "86400",
    }
    if gpus or any("Gres=gpu" in line for line in more):
        lines["GresTypes"] = "gpu"
    devices = ",".join(map(str, gpus))
    gres = f"NodeName={names} Name=gpu File={devices}\n" if gpus else ""
    (folder / "gres.conf").write_text(f"AutoDetect=off\n{gres}")
    node = f"NodeName={names} CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN"
    node += f" Gres=gpu:{len(gpus)}" if gpus else ""
    partition = f"PartitionName=main Nodes={names} Default=YES MaxTime=INFINITE State=UP"
    written = [*(f"{name}={value}" for name, value in (lines | settings).items()), node, partition, *more]
    conf = folder / "slurm.conf"
    conf.write_text("".join(f"{line}\n" for line in written))
    return conf


def fields(shown: str) -> dict[str, str]:
    """Return the names and values of one line of ``scontrol --oneliner show``; values may have spaces in them.

    Of a name that comes twice the first one counts: what looks like it in a path, which comes later, is none.
    """
    found = re.findall(r"(\S+?)=(.*?)(?=\s+[A-Z][\w/:]*=|\s*$)", shown.splitlines()[0])
    return dict(reversed(found))


def output_of(job: Mapping[str, str]) -> str:
    """Return the end of what a job has printed, for the message of a test that waited for it in vain."""
    paths = dict.fromkeys(Path(job[name]) for name in ("StdOut", "StdErr") if name in job)
    return "\n".join(f"{path}:\n{path.read_text(errors='replace')[-4000:]}" for path in paths if path.is_file())
