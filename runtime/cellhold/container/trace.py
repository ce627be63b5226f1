"""What happened, told as a person would want to read it: details for the steps of a plan, and `--trace`'s text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.init.prepare import OWN, SHARED, WIRED
from cellhold.init.steps import is_kernels, may_mount
from cellhold.linux.capabilities import NUMBERS
from cellhold.rootfs.plan import NAMESPACES
from cellhold.store.subids import told

if TYPE_CHECKING:
    from cellhold.init.plan import Plan
    from cellhold.spec.tracing import Step

_NAME_WIDTH = 22
_INDENT = 47
_TITLES = {
    "prepare": "on the host, before anything runs",
    "launch": "the launcher clones PID 1 into new namespaces",
    "become": "PID 1 becomes the container (in its own namespaces, no longer on the host)",
    "program": "the program",
    "end": "afterwards",
}


def details(plan: Plan) -> dict[str, str]:
    """Step name -> what it does, in words, for the steps of the launcher and of PID 1."""
    new = [name for name, flag in NAMESPACES.items() if plan["namespaces"] & flag]
    overlay = plan["overlay_program"] or "mount overlay"
    stacks = [f"{overlay['target']} of {len(overlay['lowers'])}" for overlay in plan["overlays"]]
    views = [view["directory"] or view["fstype"] for view in plan["views"]]
    kept = sorted(name.removeprefix("CAP_") for name, number in NUMBERS.items() if plan["bounding"] >> number & 1)
    return {
        "launch.clone": f"clone3: new namespaces {', '.join(new)}",
        "launch.map-ids": f"uid_map, gid_map: {told(plan['id_rows'])}",
        "launch.trees": f"open_tree, mount_setattr: {len(plan['trees'])} trees of the host, detached, read-only, ids shifted",
        "cgroup.join": 'write "0" to its own groups\' tasks',
        "user.root": f"setresuid, setresgid: root inside, {'nobody' if plan['id_base'] else 'you'} on the host",
        "cgroup.namespace": "unshare: its group looks like the root of the cgroup tree",
        "uts.hostname": f"sethostname {plan['hostname']}",
        "rootfs.stage": "a tmpfs that only PID 1 sees, to put the layers side by side",
        "rootfs.overlay": f"{overlay} (layers): {', '.join(stacks)}; one writable layer on top{', volatile' if plan['volatile'] else ''}",
        "rootfs.filesystems": "mount " + ", ".join(record["target"] for record in plan["filesystems"] if is_kernels(record["target"])),
        "rootfs.cgroup": f"mount /sys/fs/cgroup, read-only: {', '.join(views) or 'nothing'}",
        "rootfs.files": "bind " + ", ".join(plan["files"]),
        "rootfs.volumes": _volumes(plan),
        "rootfs.pivot": "pivot_root: the layers are / now; the machine's own root is unmounted",
        "user.shares": "a share of what the kernel counts for you" if plan["maxima"] else "nobody else's ids: nothing to share",
        "rootfs.lock": "setns: a copy of the mounts, in which no cover can be unmounted" if may_mount(plan) else "it may not mount",
        "rootfs.hide": f"{len(plan['masked'])} paths of /proc and /sys covered, {len(plan['read_only_paths'])} read-only",
        **_NETWORK[plan["network"]],
        "security.capabilities": f"no_new_privs; new session keyring; {len(kept)} of 41 capabilities kept: {' '.join(kept)}",
        "security.seccomp": f"a filter of {len(plan['seccomp']) // 8} instructions decides about every system call from here on",
        "program.exec": " ".join(plan["args"]),
    }


def _volumes(plan: Plan) -> str:
    made = [record["target"] for record in plan["filesystems"] if not is_kernels(record["target"])]
    bound = ", ".join(bind["target"] for bind in plan["binds"])
    hidden = sum(len(covers["hidden"]) for covers in plan["covers"].values())
    covered = f"; {hidden} names in them covered" if hidden else ""
    return f"bind {bound or 'nothing'}{covered}{'; a tmpfs on ' if made else ''}{', '.join(made)}"


_NETWORK = {
    OWN: {
        "network.offer": "nobody connects it",
        "network.loopback": "lo up; there is no other interface",
        "network.await": "nothing to wait for",
    },
    WIRED: {
        "network.offer": "its network namespace, handed out to be connected",
        "network.loopback": "lo up",
        "network.await": "wait for the cable",
    },
    SHARED: {
        "network.offer": "the network namespace is somebody else's",
        "network.loopback": "nothing of it is changed",
        "network.await": "nothing to wait for",
    },
}


def text(steps: list[Step]) -> str:
    """The whole story, a line a step: when it began (ms since the first), how long it took, what it was."""
    if not steps:
        return ""
    ordered = sorted(steps, key=lambda step: step.start)
    first = ordered[0].start
    lines = []
    chapter = ""
    for step in ordered:
        if (title := _TITLES[chapter_of(step)]) != chapter:
            lines.append(f"\n{title}")
            chapter = title
        lines.append(
            f"  {(step.start - first) * 1e3:8.2f} ms  +{step.seconds * 1e3:7.2f}  {step.name:{_NAME_WIDTH}} {step.detail}".rstrip()
        )
    total = max(step.start + step.seconds for step in ordered) - first
    lines.append(f"\n  {total * 1e3:8.2f} ms in all")
    return "\n".join(lines).lstrip("\n")


def chapter_of(step: Step) -> str:
    """The chapter that a step belongs to."""
    if step.where == "container":
        return "program" if step.name.startswith("program.") else "become"
    if step.name.startswith("launch."):
        return "launch"
    return {"program.wait": "program", "container.remove": "end"}.get(step.name, "prepare")
