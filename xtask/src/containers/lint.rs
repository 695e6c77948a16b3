//! What can be said about the container files by looking at them: hadolint, Compose, and that they agree with each other.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::dockerfile::{Dockerfile, Stage, strings};
use super::versions;
use crate::checkout::{self, Checkout};
use crate::setup::{Role, Setup};

/// The Dockerfiles.
pub(crate) const DOCKERFILES: [&str; 2] = ["deploy/docker/Dockerfile", "Dockerfile.jetson"];
/// The compose files, as they are used together.
const COMPOSE: [&[&str]; 3] = [
    &["compose.yaml"],
    &["compose.yaml", "compose.cuda.yaml"],
    &["compose.yaml", "compose.jetson.yaml"],
];

/// Looks at all of them.
///
/// # Errors
/// With everything that is wrong.
pub(crate) fn check(checkout: &Checkout, setup: &Setup<'_>) -> Result<()> {
    let hadolint = setup.unpacked(Role::Hadolint)?;
    checkout::run(checkout.command(&hadolint).arg("--no-color").args(DOCKERFILES))
        .context("hadolint finds fault with the Dockerfiles")?;
    let versions = versions::read(checkout)?;
    let mut wrong = Vec::new();
    for name in DOCKERFILES {
        let about = of_dockerfile(&read(checkout, name)?, &versions);
        wrong.extend(about.into_iter().map(|fault| format!("{name}: {fault}")));
    }
    wrong.extend(of_versions(&versions));
    wrong.extend(of_runtimes(setup));
    for files in COMPOSE {
        let about = of_compose(&compose(checkout, setup, files)?, &versions);
        wrong.extend(
            about
                .into_iter()
                .map(|fault| format!("{}: {fault}", files.join(" with "))),
        );
    }
    if !wrong.is_empty() {
        bail!("the container files are not as they should be:\n{}", wrong.join("\n"));
    }
    eprintln!(
        "    {} Dockerfiles and {} sets of compose files are as they should be",
        DOCKERFILES.len(),
        COMPOSE.len()
    );
    Ok(())
}

/// A Dockerfile of the checkout.
///
/// # Errors
/// When it can't be read or understood.
pub(crate) fn read(checkout: &Checkout, name: &str) -> Result<Dockerfile> {
    let text = fs::read_to_string(checkout.path(name)).with_context(|| format!("can't read {name}"))?;
    Dockerfile::parse(&text).with_context(|| format!("in {name}"))
}

/// What Compose makes of `files`, with all that they leave out.
fn compose(checkout: &Checkout, setup: &Setup<'_>, files: &[&str]) -> Result<Value> {
    let mut command = checkout.command(setup.unpacked(Role::Compose)?);
    command.current_dir(checkout.path("deploy/docker"));
    for file in files {
        command.args(["--file", file]);
    }
    command
        .args(["config", "--format", "json"])
        .env("KITH_RENDER_GID", "104");
    let text = checkout::capture(&mut command).context("Compose refuses the compose files")?;
    serde_json::from_str(&text).context("Compose's answer is no JSON")
}

/// The faults of a Dockerfile.
fn of_dockerfile(file: &Dockerfile, versions: &BTreeMap<String, String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for stage in &file.stages {
        let image = file.image(stage, &BTreeMap::new());
        if let Some(fault) = of_image(&image) {
            wrong.push(format!("stage {}: {fault}", stage.name));
        }
        for instruction in &stage.instructions {
            let from_network = instruction.word == "ADD" && instruction.text.contains("://");
            if from_network {
                wrong.push(format!(
                    "line {}: ADD fetches what nobody has checked",
                    instruction.line
                ));
            }
        }
    }
    for (name, default) in file.arguments.iter().filter(|(name, _)| name.ends_with("_IMAGE")) {
        if versions.get(name) != Some(default) {
            wrong.push(format!("{name} is {default} here, and not so in {}", versions::FILE));
        }
    }
    match file.stages.last() {
        Some(image) => wrong.extend(of_last_stage(image)),
        None => wrong.push("it has no stage".to_owned()),
    }
    wrong
}

/// The faults of the stage that becomes the image.
fn of_last_stage(image: &Stage) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    let text = |word: &str| image.last(word).map(|instruction| instruction.text.as_str());
    let user = text("USER").and_then(|user| user.parse::<u32>().ok());
    must(
        user.is_some_and(|user| user > 0),
        "its user must be a number, and not root's",
    );
    let environment: BTreeMap<String, String> = image.environment().into_iter().collect();
    let has = |name: &str, value: &str| environment.get(name).is_some_and(|set| set == value);
    must(
        has("ORT_DISABLE_TELEMETRY", "1"),
        "ORT_DISABLE_TELEMETRY=1 must be in its environment",
    );
    must(
        has("NVIDIA_DRIVER_CAPABILITIES", "compute,utility,video"),
        "NVIDIA_DRIVER_CAPABILITIES must name compute, utility and video",
    );
    let check = text("HEALTHCHECK").and_then(|check| check.split_once("CMD "));
    let check = check.map(|(_, command)| strings(command).unwrap_or_default());
    must(
        check == Some(vec!["kith".into(), "health".into()]),
        "its health check must be `kith health`",
    );
    // As a list: a shell between would not pass the signal to stop.
    let starts = |word: &str| text(word).and_then(|text| strings(text).ok()).unwrap_or_default();
    must(
        starts("ENTRYPOINT") == ["kith"],
        "its entry point must be the list [\"kith\"]",
    );
    must(
        starts("CMD").first().is_some_and(|first| first == "run"),
        "its command must be a list that begins with run",
    );
    must(
        !starts("VOLUME").is_empty(),
        "what outlives a container must be a volume",
    );
    wrong
}

/// Why `image` is not named exactly, if it isn't.
fn of_image(image: &str) -> Option<String> {
    let (name, digest) = image.split_once('@').unwrap_or((image, ""));
    // A host may have a port.
    let tag = name
        .rsplit('/')
        .next()
        .and_then(|last| last.split_once(':'))
        .map(|(_, tag)| tag);
    match tag {
        None => Some(format!("{image} has no tag")),
        Some(tag) if !tag.split('-').any(is_exact) => Some(format!("the tag of {image} is not exact")),
        Some(_) if !digest.is_empty() && !digest.starts_with("sha256:") => Some(format!("{image} has an odd digest")),
        Some(_) => None,
    }
}

/// `12` or `24.04` is another image tomorrow; three numbers, or a day, make one that stays.
fn is_exact(part: &str) -> bool {
    let numbers = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_day = part.len() == 8 && numbers(part);
    let is_version = part.split('.').count() >= 3 && part.split('.').skip(1).all(numbers);
    is_day || is_version
}

/// The faults of versions.env.
fn of_versions(versions: &BTreeMap<String, String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, value) in versions {
        if name.ends_with("_IMAGE") {
            wrong.extend(of_image(value));
        }
        if name.starts_with("DEBIAN_") && name.ends_with("_PACKAGES") {
            let loose = value.split_whitespace().filter(|word| !word.contains('='));
            wrong.extend(loose.map(|word| format!("{name}: {word} has no version")));
        }
    }
    // Ubuntu's packages have theirs by the day.
    let day = versions.get("UBUNTU_SNAPSHOT").map_or("", String::as_str);
    let is_exact = day.len() == 16 && day.ends_with('Z') && day.contains('T');
    if !is_exact {
        wrong.push(format!(
            "UBUNTU_SNAPSHOT is {day:?}, not a moment such as 20260924T000000Z"
        ));
    }
    wrong
        .into_iter()
        .map(|fault| format!("{}: {fault}", versions::FILE))
        .collect()
}

/// The faults of the runtimes in `onnx/sources.toml`.
fn of_runtimes(setup: &Setup<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let versions = setup.versions(Role::RuntimeCuda);
    match versions.get("onnxruntime-gpu").map(|version| minor(version)) {
        // The first with CUDA for arm64, which JetPack 7 takes.
        Some(Some(minor)) if minor >= 29 => {}
        other => wrong.push(format!(
            "onnxruntime-gpu has to be 1.29 or later, for JetPack 7: {other:?}"
        )),
    }
    wrong
        .into_iter()
        .map(|fault| format!("onnx/sources.toml: {fault}"))
        .collect()
}

/// Of `1.MINOR.PATCH`.
fn minor(version: &str) -> Option<u32> {
    let mut parts = version.split('.');
    parts.next().filter(|major| *major == "1")?;
    parts.next()?.parse().ok()
}

/// The faults of compose files as Compose understood them.
fn of_compose(config: &Value, versions: &BTreeMap<String, String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(services) = config["services"].as_object() else {
        return vec!["there are no services".to_owned()];
    };
    for (name, service) in services {
        let lists = |key: &str, wanted: &str| {
            let list = service[key].as_array();
            list.is_some_and(|list| list.iter().any(|one| one.as_str() == Some(wanted)))
        };
        let mut must = |holds: bool, what: &str| {
            if !holds {
                wrong.push(format!("{name}: {what}"));
            }
        };
        must(service["read_only"] == true, "its root must be read-only");
        must(lists("cap_drop", "ALL"), "all capabilities must be dropped");
        must(
            lists("security_opt", "no-new-privileges:true"),
            "no-new-privileges must be set",
        );
        let user = service["user"].as_str().unwrap_or_default();
        must(
            user.starts_with(|c: char| ('1'..='9').contains(&c)),
            "its user must be a number, and not root's",
        );
        must(service["privileged"] != true, "it must not be privileged");
        must(service["restart"] == "unless-stopped", "it must be started again");
        let open = service["ports"].as_array().into_iter().flatten();
        let open = open.filter(|port| port["host_ip"].as_str().is_none_or(|host| host != "127.0.0.1"));
        must(
            open.count() == 0,
            "a port must not be open to the network unless somebody says so",
        );
    }
    let broker = services.get("mosquitto").and_then(|service| service["image"].as_str());
    if broker != versions.get("MOSQUITTO_IMAGE").map(String::as_str) {
        wrong.push(format!("the broker is {broker:?}, and not so in {}", versions::FILE));
    }
    let kith = services.get("kith");
    if kith.is_none_or(|kith| kith["build"]["dockerfile"].is_null()) {
        wrong.push("kith is not built from a Dockerfile".to_owned());
    }
    wrong
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::{of_compose, of_dockerfile, of_image, of_versions};
    use crate::containers::dockerfile::Dockerfile;

    const GOOD: &str = "\
ARG A_IMAGE=debian:12.11.0
FROM ${A_IMAGE} AS image
ENV ORT_DISABLE_TELEMETRY=1 NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
VOLUME [\"/var/lib/kith\"]
USER 990
HEALTHCHECK --interval=30s CMD [\"kith\", \"health\"]
ENTRYPOINT [\"kith\"]
CMD [\"run\"]
";

    fn versions() -> BTreeMap<String, String> {
        let all = [
            ("A_IMAGE", "debian:12.11.0"),
            ("MOSQUITTO_IMAGE", "eclipse-mosquitto:2.0.22"),
            ("DEBIAN_RUN_PACKAGES", "a=1 b=2"),
            ("UBUNTU_SNAPSHOT", "20260924T000000Z"),
        ];
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn each_fault_of_a_dockerfile_is_named() {
        let faults = |text: &str| of_dockerfile(&Dockerfile::parse(text).unwrap(), &versions());
        assert_eq!(faults(GOOD), Vec::<String>::new());
        for (from, to, fault) in [
            ("USER 990", "USER root", "not root's"),
            ("USER 990", "USER 0", "not root's"),
            ("USER 990\n", "", "not root's"),
            ("debian:12.11.0", "debian:latest", "not exact"),
            ("debian:12.11.0", "debian:12.12.0", "not so in"),
            ("[\"kith\", \"health\"]", "kith health", "health check"),
            ("HEALTHCHECK --interval=30s CMD", "LABEL check=", "health check"),
            ("ORT_DISABLE_TELEMETRY=1 ", "", "TELEMETRY"),
            ("ENTRYPOINT [\"kith\"]", "ENTRYPOINT kith", "entry point"),
            (
                "VOLUME [\"/var/lib/kith\"]\n",
                "ADD https://example.org/x /x\n",
                "nobody has checked",
            ),
        ] {
            let found = faults(&GOOD.replacen(from, to, 1));
            assert!(found.iter().any(|one| one.contains(fault)), "{from} -> {to}: {found:?}");
        }
    }

    #[test]
    fn only_exact_images_pass() {
        for good in [
            "rust:1.95.0-slim-bookworm@sha256:00",
            "debian:bookworm-20260824-slim",
            "eclipse-mosquitto:2.0.22",
            "nvcr.io/nvidia/l4t-jetpack:r36.4.0",
        ] {
            assert_eq!(of_image(good), None, "{good}");
        }
        for bad in [
            "debian",
            "debian:latest",
            "debian:12",
            "debian:bookworm-slim",
            "host:5000/debian",
            "ubuntu:24.04",
        ] {
            assert!(of_image(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn each_fault_of_versions_is_named() {
        assert_eq!(of_versions(&versions()), Vec::<String>::new());
        for (name, value, fault) in [
            ("DEBIAN_RUN_PACKAGES", "a=1 b", "b has no version"),
            ("MOSQUITTO_IMAGE", "eclipse-mosquitto:2", "not exact"),
            ("UBUNTU_SNAPSHOT", "today", "not a moment"),
        ] {
            let mut versions = versions();
            versions.insert(name.to_owned(), value.to_owned());
            assert!(of_versions(&versions)[0].contains(fault), "{name}={value}");
        }
    }

    #[test]
    fn each_fault_of_compose_files_is_named() {
        let good = || {
            let hard = json!({
                "read_only": true, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"], "user": "990",
                "restart": "unless-stopped",
            });
            let mut config = json!({"services": {"kith": hard.clone(), "mosquitto": hard}});
            config["services"]["kith"]["build"] = json!({"dockerfile": "Dockerfile"});
            config["services"]["mosquitto"]["image"] = json!("eclipse-mosquitto:2.0.22");
            config["services"]["mosquitto"]["ports"] = json!([{"host_ip": "127.0.0.1", "published": "1883"}]);
            config
        };
        assert_eq!(of_compose(&good(), &versions()), Vec::<String>::new());
        for (key, value, fault) in [
            ("read_only", json!(false), "read-only"),
            ("cap_drop", json!(["CHOWN"]), "capabilities"),
            ("security_opt", json!(null), "no-new-privileges"),
            ("user", json!("root"), "not root's"),
            ("user", json!("0"), "not root's"),
            ("restart", json!("no"), "started again"),
            ("privileged", json!(true), "privileged"),
            ("image", json!("eclipse-mosquitto:latest"), "the broker"),
            ("ports", json!([{"published": "1883"}]), "open to the network"),
        ] {
            let mut config = good();
            config["services"]["mosquitto"][key] = value;
            let found = of_compose(&config, &versions());
            assert!(found.iter().any(|one| one.contains(fault)), "{key}: {found:?}");
        }
    }
}
