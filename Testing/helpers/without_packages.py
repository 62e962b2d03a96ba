"""Run in a process of its own: a command line of ours where only some packages can be imported, and
where it is noticed if anything asks for a socket.

    python without_packages.py ARGUMENTS...
"""

import sys

ALLOWED = {"numpy", "scipy", "SimpleITK", "onnxruntime", "openvino", "MedLLMSegLib"}
# What onnxruntime itself needs, tqdm of the progress bar, and what numpy and scipy look for.
THEIRS = {"google", "flatbuffers", "packaging", "tqdm", "sympy", "mpmath", "coloredlogs"}
ASKED: list[str] = []


class Missing:
    """A finder that knows of no other package."""

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in ALLOWED | THEIRS or top.startswith("_"):
            return None
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def notice(event, arguments):
    if event.startswith("socket.") and event not in ("socket.gethostname",):
        ASKED.append(event)


if __name__ == "__main__":
    sys.meta_path.insert(0, Missing())
    sys.addaudithook(notice)
    from MedLLMSegLib.cli.main import main

    code = main(sys.argv[1:])
    print("SOCKETS", *ASKED)
    print("TORCH", "torch" in sys.modules)
    sys.exit(code)
