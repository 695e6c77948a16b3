# Takes members out of a wheel or a tarball: unpack.py ARCHIVE MEMBER TARGET [MEMBER TARGET ...]
# A member that ends in "/" is a folder ("/" alone: everything).
import os, sys, tarfile, zipfile

archive, wanted = sys.argv[1], list(zip(sys.argv[2::2], sys.argv[3::2]))
if archive.endswith(".whl"):
    package = zipfile.ZipFile(archive)
    names = [name for name in package.namelist() if not name.endswith("/")]
    read, mode = package.read, lambda name: package.getinfo(name).external_attr >> 16
else:
    package = tarfile.open(archive)
    files = {entry.name: entry for entry in package.getmembers() if entry.isfile()}
    names = list(files)
    read, mode = lambda name: package.extractfile(files[name]).read(), lambda name: files[name].mode


def write(name, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as file:
        file.write(read(name))
    # Nothing but the right to run is taken over from the package.
    os.chmod(target, 0o755 if mode(name) & 0o100 else 0o644)


for member, target in wanted:
    if not member.endswith("/"):
        if member not in names:
            sys.exit(f"{archive} has no {member}")
        write(member, target)
        continue
    prefix = member.lstrip("/")
    for name in names:
        inside = name[len(prefix):]
        if name.startswith(prefix) and ".." not in inside.split("/") and not inside.startswith("/"):
            write(name, os.path.join(target, inside))
