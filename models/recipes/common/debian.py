"""Debian packages as folders: `apt-get download` fetches them, nothing is installed."""
import subprocess


def fetch(folder, packages):
    """The packages into `<folder>/deb`, those that are there already left alone."""
    at = folder / "deb"
    at.mkdir(parents=True, exist_ok=True)
    missing = [p for p in packages if not list(at.glob(f"{p}_*.deb"))]
    if missing:
        subprocess.run(["apt-get", "download", "-qq", *missing], cwd=at, check=True)


def unpacked(folder, package):
    """The folder of a fetched package's files."""
    at = folder / "files" / package
    if not at.exists():
        deb = next((folder / "deb").glob(f"{package}_*.deb"))
        at.mkdir(parents=True)
        subprocess.run(["dpkg-deb", "-x", deb, at], check=True)
    return at
