#!/usr/bin/env python3
"""Runs the operators of this folder under `verify`: cheats must fail, honest ones must pass.

Each file begins with comment lines `key: value`; they say what it tries, why it fails, and what must be printed."""

import argparse
import concurrent.futures
import ctypes
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MANIFEST = "manifests/quickstart.yaml"
NEEDED = ("zoo", "attack", "case", "claims", "measure", "words", "code")
KNOWN = NEEDED + ("fails", "passes", "extra", "layer", "off-words", "off-code")
LIMIT_S = 300

starting = threading.Lock()
running = set()


def header(path):
    """The first comment lines of a file, by key."""
    mark = "# " if path.suffix == ".py" else "// "
    found = {}
    for line in path.read_text().splitlines():
        if not line.startswith(mark) or ": " not in line:
            break
        key, value = line[len(mark):].split(": ", 1)
        found[key] = value.strip()
    wrong = [key for key in NEEDED if key not in found] + [key for key in found if key not in KNOWN]
    if wrong or found["zoo"] not in ("cheat", "honest"):
        raise SystemExit(f"{path.name}: keys {', '.join(wrong) or 'zoo'}")
    if ("passes" if found["zoo"] == "honest" else "fails") not in found:
        raise SystemExit(f"{path.name}: does not say why it fails or passes")
    return found


def written(path, says, folder, python):
    """The operator file of an operator, in a folder with its code."""
    if path.suffix == ".c":
        entry = path.stem + ".so"
        command = ["cc", "-shared", "-fPIC", "-O1", "-I" + str(ROOT / "include"), str(path)]
        subprocess.run(command + ["-o", str(folder / entry), "-lpthread", "-lrt"], check=True)
        kind = "kind: library"
    else:
        entry = path.name
        shutil.copy(path, folder / entry)
        kind = f'kind: python, interpreter: "{python}"'
    digest = hashlib.sha256((folder / entry).read_bytes()).hexdigest()
    more = says.get("extra", "").replace("FOLDER", str(folder))
    text = (
        f"{{format: sparse-verify-operator/1-draft, name: {path.stem}, version: '1.0', author: the zoo, {kind},\n"
        f"entry: {entry}, files: {{{entry}: {digest}}}, dtypes: [f32], arithmetics: [{says['claims']}]"
        + (f",\n{more}" if more else "") + "}\n"
    )
    file = folder / "operator.yaml"
    file.write_text(text)
    return file


def left_behind(folder):
    """Processes of a run that is over, which are this process's children now: ended, and named."""
    found = []
    for task in pathlib.Path("/proc/self/task").iterdir():
        for pid in map(int, (task / "children").read_text().split()):
            try:
                environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
                state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if pid in running or state == "Z" or str(folder).encode() not in environment:
                continue
            found.append(pid)
            os.kill(pid, signal.SIGKILL)
    return found


def run(verify, says, file, folder, layer=None):
    """The exit code, what was printed, and what a run left behind."""
    command = [verify, MANIFEST, "--case", says["case"], "--operator", str(file)]
    command += [] if says["measure"] == "yes" else ["--no-measure"]
    command += ["--isolation-off", layer] if layer else []
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    temporary.chmod(0o711)
    environment = dict(os.environ, TMPDIR=str(temporary))
    with starting:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, errors="replace",
        )
        running.add(process.pid)
    try:
        said, _ = process.communicate(timeout=LIMIT_S)
        code = process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        code = f"no end after {LIMIT_S} s"
    time.sleep(0.1)
    left = [f"process {pid}" for pid in left_behind(folder)]
    left += [f"folder {path.name}" for path in temporary.iterdir()]
    subprocess.run(["rm", "-rf", str(temporary)])
    return code, said, left


def faults(says, code, said, left, words, wanted):
    """What is not as the header says."""
    found = []
    if str(code) != wanted:
        found.append(f"exit code {code}, want {wanted}")
    if words not in said:
        found.append(f"does not say `{words}`")
    is_timed = re.search(r"\d (ns|µs|us|ms|s), [\d.]+x", said) or re.search(r"\d (ns|µs|us|ms|s) *$", said, re.M)
    if says["zoo"] == "cheat" and code == 0 and (says["measure"] == "no" or is_timed):
        found.insert(0, "NOT CAUGHT")
    if "panicked" in said:
        found.append("panicked")
    if left:
        found.append("left behind: " + ", ".join(left))
    return found


def case(path, options):
    """Runs one operator; whether all was as its header says."""
    says = header(path)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="zoo-"))
    folder.chmod(0o711)
    try:
        file = written(path, says, folder, options.python)
        times = options.times if says["zoo"] == "honest" else 1
        runs = [(None, says["words"], says["code"])] * times
        if "layer" in says:
            runs.append((says["layer"], says["off-words"], says["off-code"]))
        good = True
        for layer, words, wanted in runs:
            began = time.monotonic()
            code, said, left = run(options.verify, says, file, folder, layer)
            found = faults(says, code, said, left, words, wanted)
            good = good and not found
            how = f" without {layer}" if layer else ""
            print(
                f"{'ok  ' if not found else 'FAIL'} {says['zoo']:6} {path.name}{how} "
                f"({time.monotonic() - began:.1f} s){': ' if found else ''}{'; '.join(found)}",
                flush=True,
            )
            if found or options.verbose:
                print("     | " + said.strip().replace("\n", "\n     | "), flush=True)
        return good
    finally:
        subprocess.run(["rm", "-rf", str(folder)])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only operators whose file name contains one of these")
    parser.add_argument("--verify", default=str(ROOT / "target/release/verify"))
    parser.add_argument("--python", default=str(ROOT / "target/test-env/bin/python"), help="with NumPy")
    parser.add_argument("--jobs", type=int, default=1, help="times are disturbed by more than one")
    parser.add_argument("--times", type=int, default=10, help="runs of each honest operator")
    parser.add_argument("--verbose", action="store_true", help="what verify prints, always")
    options = parser.parse_args()
    options.verify = os.path.abspath(options.verify)
    # PR_SET_CHILD_SUBREAPER: what a run leaves behind comes here.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    files = sorted(path for path in HERE.iterdir() if path.suffix in (".py", ".c") and path.name != "run.py")
    files = [path for path in files if not options.names or any(name in path.name for name in options.names)]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        good = list(pool.map(lambda path: case(path, options), files))
    print(f"{len(good)} operators, {good.count(False)} not as their headers say")
    return 1 if False in good or not good else 0


if __name__ == "__main__":
    sys.exit(main())
