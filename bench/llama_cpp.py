"""llama.cpp from the source package that carries it: fetched once by hash, built into the cache for this machine. SPDX-License-Identifier: Apache-2.0"""
import os, pathlib, subprocess, sys, tarfile

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "plinth"
PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
HOME = CACHE / f"llama.cpp-{VERSION}"


def say(text):
    print(f"bench: {text}", flush=True)


def call(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"bench: {command[0]} failed ({done.returncode}):\n{(done.stdout + done.stderr)[-2000:]}")
    return done


def source():
    """The folder of llama.cpp's source."""
    if not (found := next(HOME.glob("*/vendor/llama.cpp"), None)):
        HOME.mkdir(parents=True, exist_ok=True)
        say(f"fetching the source of {PACKAGE} {VERSION}")
        (HOME / "lock.txt").write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
        call(CACHE / "venv/tools/bin/python", "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-binary", ":all:", "--resume-retries", "5",
             "-d", HOME, "-r", HOME / "lock.txt")
        with tarfile.open(next(HOME.glob("*.tar.gz"))) as tar:
            tar.extractall(HOME, filter="data")
        found = next(HOME.glob("*/vendor/llama.cpp"))
    return found


def build(name, targets, minutes, *settings):
    """The build folder of that name; its programs and libraries are in bin/."""
    folder = HOME / name
    call("cmake", "-S", source(), "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_CURL=OFF",
         "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", *settings)
    say(f"building llama.cpp in {folder} (the first time about {minutes} minutes on 2 cores)")
    call("ninja", "-C", folder, *targets)
    return folder


def programs(*tools):
    """The folder of llama.cpp's programs; built when they are missing."""
    bin_dir = HOME / "build/bin"
    if not all((bin_dir / t).exists() for t in tools):
        build("build", tools, 12)
    return bin_dir
