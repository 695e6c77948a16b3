//! Debian roots in place of base images, which can't be pulled without an engine.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::checkout::{self, Checkout};
use crate::root::{Copy, Recipe, Root};
use crate::setup::Setup;

/// Where registries and proxies are, as this machine's clients are told.
const WAY_OUT: [&str; 10] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_DEFAULT_TIMEOUT",
    "NPM_CONFIG_REGISTRY",
];
/// What names the certificates that clients trust.
const CERTIFICATES: [&str; 5] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "CARGO_HTTP_CAINFO",
];
/// Where this machine's certificates lie in a root while its steps run.
const CERTIFICATES_INSIDE: &str = "/run/certificates.pem";

/// A root in place of an image, and what stands for what.
pub(crate) struct Base {
    pub(crate) copy: Copy,
    /// For the log.
    pub(crate) stands_for: String,
    /// The environment that the image would have.
    pub(crate) environment: BTreeMap<String, String>,
}

/// What stands in place of `image`; `None` when nothing can. With `keep`, in this folder, which stays, and with what an
/// earlier run left in it.
///
/// # Errors
/// When a root can't be made.
pub(crate) fn of(image: &str, checkout: &Checkout, setup: &Setup<'_>, keep: Option<&Path>) -> Result<Option<Base>> {
    let name = image.split(['@', ':']).next().unwrap_or(image);
    let is_old = keep.is_some_and(Path::exists);
    let root = |packages: &[&str]| match keep {
        Some(folder) if is_old => Copy::at(folder),
        Some(folder) => Root::prepare(checkout, setup, &Recipe::bookworm(packages))?.unpack_into(checkout, folder),
        None => Root::prepare(checkout, setup, &Recipe::bookworm(packages))?.unpack(checkout),
    };
    let mut base = match name {
        "rust" => {
            let copy = root(&["ca-certificates", "gcc", "libc6-dev"])?;
            let version = bring_rust(checkout, &copy)?;
            Base {
                copy,
                stands_for: format!("Debian 12, gcc and this machine's {version} in place of {image}"),
                environment: BTreeMap::from([
                    ("CARGO_HOME".to_owned(), "/usr/local/cargo".to_owned()),
                    ("PATH".to_owned(), format!("/usr/local/cargo/bin:{PATH}")),
                ]),
            }
        }
        "debian" => Base {
            copy: root(&[])?,
            stands_for: format!("Debian 12's smallest system in place of {image}"),
            environment: BTreeMap::new(),
        },
        "ubuntu" => {
            let copy = root(&[])?;
            // So that the steps take the way that they take there.
            let release = copy.path("etc/os-release");
            fs::remove_file(&release).ok();
            fs::write(&release, "ID=ubuntu\n").with_context(|| format!("can't write {}", release.display()))?;
            Base {
                copy,
                stands_for: format!("Debian 12 that calls itself Ubuntu in place of {image}; so not its versions"),
                environment: BTreeMap::new(),
            }
        }
        _ => return Ok(None),
    };
    if is_old {
        // What it made is made anew.
        let out = base.copy.path("out");
        if out.exists() {
            fs::remove_dir_all(&out).with_context(|| format!("can't remove {}", out.display()))?;
        }
        base.stands_for += ", with what an earlier run had compiled and fetched";
    }
    Ok(Some(base))
}

/// As Debian's images have it.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Puts the compiler that built us where the image of Rust has its own.
fn bring_rust(checkout: &Checkout, copy: &Copy) -> Result<String> {
    let sysroot = checkout::capture(checkout.command("rustc").args(["--print", "sysroot"]))?;
    let inside = copy.path("usr/local/cargo");
    fs::create_dir_all(&inside).with_context(|| format!("can't make {}", inside.display()))?;
    for part in ["bin", "lib"].into_iter().filter(|part| !inside.join(part).exists()) {
        let from = format!("{}/{part}", sysroot.trim());
        // By links where the file system can: nobody writes there.
        let copied = |link: &[&str]| {
            let mut cp = checkout.command("cp");
            checkout::succeeds(cp.arg("--archive").args(link).arg(&from).arg(&inside))
        };
        if !copied(&["--link"]) && !copied(&["--force"]) {
            bail!("can't copy {from} to {}", inside.display());
        }
    }
    // The image's rustup has its folder; there is nothing in ours.
    fs::create_dir_all(copy.path("usr/local/rustup"))?;
    let version = checkout::capture(checkout.command("rustc").arg("--version"))?;
    Ok(version.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

/// Lets the clients that `command` starts in `copy` reach what this machine reaches, in its way.
///
/// # Errors
/// When the certificates can't be copied.
pub(crate) fn let_out(command: &mut Command, copy: &Copy) -> Result<()> {
    for name in WAY_OUT {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
    let Some(certificates) = CERTIFICATES.into_iter().find_map(env::var_os) else {
        return Ok(());
    };
    let inside = copy.path(CERTIFICATES_INSIDE);
    fs::copy(&certificates, &inside).with_context(|| format!("can't copy {}", certificates.display()))?;
    for name in CERTIFICATES {
        command.env(name, CERTIFICATES_INSIDE);
    }
    Ok(())
}

/// Takes away what [`let_out`] brought.
pub(crate) fn clean(copy: &Copy) {
    // It may never have been there.
    let _ = fs::remove_file(copy.path(CERTIFICATES_INSIDE));
}
