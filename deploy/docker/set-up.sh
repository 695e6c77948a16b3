#!/bin/sh
# The steps of Kith's container images, so that each of them can also be run by hand in a Debian or Ubuntu of one's own.
# Run as root in the root folder of the checkout:
#
#   set-up.sh build-packages          what the build takes, from the distribution
#   set-up.sh program                 kith, manual pages and completions, to $OUT
#   set-up.sh models built-in|mounted the models to $OUT, or an empty folder for them
#   set-up.sh runtime WHICH           the ONNX Runtime to $OUT; WHICH: cpu, cuda, jetpack-6, jetpack-7
#   set-up.sh run-packages            what kith runs with, from the distribution
#   set-up.sh user                    the user kith and its folders
#
# OUT is where the image's files are collected (/out). DEBIAN_MIRROR, if set, replaces the archive of the Debian packages:
# one of a past day has the versions of versions.env when the archive of today no longer does.
set -eu

here=$(dirname "$0")
# shellcheck source=versions.env
. "$here/versions.env"
OUT=${OUT:-/out}

fail() {
    echo "set-up.sh: $*" >&2
    exit 1
}

distribution() {
    (. /etc/os-release && echo "$ID")
}

# The packages named, without what they only recommend, and no lists left behind.
install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    case $(distribution) in
    debian)
        if [ -n "${DEBIAN_MIRROR:-}" ]; then
            rm -f /etc/apt/sources.list.d/debian.sources
            {
                for suite in bookworm bookworm-updates; do
                    echo "deb [check-valid-until=no] $DEBIAN_MIRROR $suite main"
                done
                # Beside it, as on every mirror and in the archive of past days: …/debian and …/debian-security.
                security=$(echo "$DEBIAN_MIRROR" | sed -E 's#/debian(/|$)#/debian-security\1#')
                echo "deb [check-valid-until=no] $security bookworm-security main"
            } >/etc/apt/sources.list
        fi
        apt-get update -q
        apt-get install -y -q --no-install-recommends "$@" ||
            fail "a version in versions.env is not in the archive any more: raise it, or set DEBIAN_MIRROR to the archive of a past day"
        ;;
    ubuntu)
        # The archive of a past day is reached over https, and Ubuntu's base knows no authorities: today's come first.
        if [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then
            apt-get update -q
            apt-get install -y -q --no-install-recommends ca-certificates
        fi
        # Ubuntu 22.04's apt looks at the archive of a past day only where the source allows it.
        if [ -f /etc/apt/sources.list ]; then
            sed -i -E 's/^deb (http[^ ]*ubuntu[^ ]*)/deb [snapshot=yes] \1/' /etc/apt/sources.list
        fi
        apt-get update -q -o APT::Snapshot="$UBUNTU_SNAPSHOT"
        apt-get install -y -q --no-install-recommends --allow-downgrades \
            -o APT::Snapshot="$UBUNTU_SNAPSHOT" "$@"
        ;;
    *) fail "$(distribution) is neither Debian nor Ubuntu" ;;
    esac
    rm -rf /var/lib/apt/lists/*
}

packages() {
    # shellcheck disable=SC2086 # the lists are words
    case $(distribution)-$1 in
    debian-build) install_packages $DEBIAN_BUILD_PACKAGES ;;
    debian-run) install_packages $DEBIAN_RUN_PACKAGES ;;
    ubuntu-build) install_packages $UBUNTU_BUILD_PACKAGES ;;
    ubuntu-run) install_packages $UBUNTU_RUN_PACKAGES ;;
    *) fail "$(distribution) is neither Debian nor Ubuntu" ;;
    esac
}

program() {
    cargo build --release --locked --package kith
    install -D -m 755 target/release/kith "$OUT/usr/bin/kith"
    "$OUT/usr/bin/kith" man "$OUT/usr/share/man/man1"
    mkdir -p "$OUT/usr/share/bash-completion/completions"
    "$OUT/usr/bin/kith" completions bash >"$OUT/usr/share/bash-completion/completions/kith"
    install -D -m 644 -t "$OUT/usr/share/doc/kith" LICENSE-APACHE LICENSE-MIT deploy/kith.toml
}

models() {
    mkdir -p "$OUT/usr/share/kith/models"
    case ${1:-} in
    built-in)
        cargo xtask models
        install -m 644 -t "$OUT/usr/share/kith/models" onnx/models.toml onnx/*.onnx
        ;;
    mounted) ;;
    *) fail "models: built-in or mounted, not '${1:-}'" ;;
    esac
}

runtime() {
    mkdir -p "$OUT/usr/lib/kith"
    case ${1:-} in
    cpu) cargo xtask runtime --to "$OUT/usr/lib/kith" ;;
    cuda | jetpack-7) cargo xtask runtime --cuda --to "$OUT/usr/lib/kith" ;;
    jetpack-6)
        [ -n "${JETPACK6_INDEX:-}" ] ||
            fail "set the build argument JETPACK6_INDEX to the address of Jetson AI Lab's package index for jp6/cu126"
        folder=$(mktemp -d)
        echo "onnxruntime-gpu==$JETPACK6_ONNXRUNTIME --hash=sha256:$JETPACK6_ONNXRUNTIME_SHA256" >"$folder/wanted.txt"
        python3 -m pip download --no-deps --require-hashes --only-binary=:all: --python-version=310 \
            --platform=linux_aarch64 --index-url "$JETPACK6_INDEX" --dest "$folder" --requirement "$folder/wanted.txt"
        python3 -m zipfile -e "$folder"/*.whl "$folder/wheel"
        capi=$folder/wheel/onnxruntime/capi
        install -m 644 "$capi/libonnxruntime.so.$JETPACK6_ONNXRUNTIME" "$OUT/usr/lib/kith/libonnxruntime.so"
        install -m 644 -t "$OUT/usr/lib/kith" "$capi"/libonnxruntime_providers_*.so
        rm -rf "$folder"
        # The run image has CUDA; cuDNN and TensorRT are in the build image only.
        for library in cudnn nvinfer nvonnxparser; do
            cp -a /usr/lib/aarch64-linux-gnu/lib"$library"*.so.* "$OUT/usr/lib/kith/"
        done
        ;;
    *) fail "runtime: cpu, cuda, jetpack-6 or jetpack-7, not '${1:-}'" ;;
    esac
}

user() {
    # Debian and Ubuntu have the group video; render comes with udev, which an image doesn't have.
    getent group render >/dev/null || groupadd --system render
    useradd --system --user-group --uid 990 --groups video,render --home-dir /var/lib/kith --no-create-home \
        --shell /usr/sbin/nologin kith
    install -d -m 700 -o kith -g kith /var/lib/kith /var/cache/kith
    install -d -m 755 /etc/kith
}

case ${1:-} in
build-packages) packages build ;;
program) program ;;
models) models "${2:-}" ;;
runtime) runtime "${2:-}" ;;
run-packages) packages run ;;
user) user ;;
*) fail "no step '${1:-}'; the steps are described at the top of this file" ;;
esac
