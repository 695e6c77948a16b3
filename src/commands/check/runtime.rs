//! The ONNX Runtime library, and what really runs the networks.

use super::{Context, Finding, Subject};
use crate::config::Settings;
use crate::identify::IdentifierSource;
use crate::networks::Networks;
use crate::paths;
use crate::runtime::{Provider, Runtime, RuntimeError};

/// ONNX Runtime's own switch for its telemetry.
const TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

/// The library: found, loads, says nothing home.
pub(super) fn library(settings: &Settings, _: &Context) -> Vec<Finding> {
    let path = paths::runtime_library(settings.runtime.library.as_deref());
    let runtime = match Runtime::load(&settings.runtime) {
        Ok(runtime) => runtime,
        Err(error) => {
            let mend = "name the library with `runtime.library` or KITH_RUNTIME_LIBRARY: ONNX Runtime 1.17 or newer of \
                        this machine's kind; in a checkout `cargo xtask models` brings it";
            return vec![Finding::failed(Subject::Runtime, "", error.to_string(), mend)];
        }
    };
    let said = runtime.version();
    let version = said.split_once("git-branch=").map_or(said, |(_, rest)| rest);
    let version = version.split([',', ' ']).next().unwrap_or(version);
    vec![
        Finding::ok(Subject::Runtime, "", format!("{}, {version}", path.display())),
        telemetry(std::env::var(TELEMETRY).ok().as_deref()),
    ]
}

fn telemetry(variable: Option<&str>) -> Finding {
    match variable {
        Some("0") => Finding::warning(
            Subject::Runtime,
            "telemetry",
            format!("{TELEMETRY}=0 allows it"),
            format!("set {TELEMETRY}=1, or leave it unset: Kith then switches telemetry off itself"),
        ),
        _ => Finding::ok(Subject::Runtime, "telemetry", "off"),
    }
}

/// The networks, opened on the provider that was asked for.
pub(super) fn provider(settings: &Settings, _: &Context) -> Vec<Finding> {
    let mut runtime = settings.runtime.clone();
    let mut findings = Vec::new();
    match IdentifierSource::open(&settings.identify_by, &mut runtime) {
        Ok(IdentifierSource::Head(head)) => {
            let head = head.model();
            findings.push(Finding::ok(
                Subject::Provider,
                format!("head {}", head.name),
                format!("{} people, on {}", head.classes.len(), head.embedder),
            ));
        }
        Ok(IdentifierSource::Gallery { .. }) => {}
        Err(error) => findings.push(Finding::failed(
            Subject::Provider,
            "identify",
            format!("{error:#}"),
            "correct `identify.by` or `identify.embedder`, or install the head again; see the lines about models",
        )),
    }
    match Networks::open(&runtime) {
        Ok(networks) => {
            let seen = networks.provider.to_string();
            let asked_for_more = runtime.provider == Provider::Auto && has_card();
            findings.push(if networks.provider.provider == Provider::Cpu && asked_for_more {
                Finding::warning(
                    Subject::Provider,
                    "",
                    seen,
                    "there is a card, and the processor does the work: give `runtime.library` a library with CUDA, or set \
                     `runtime.provider = \"cpu\"` if that is meant",
                )
            } else {
                Finding::ok(Subject::Provider, "", seen)
            });
        }
        Err(error) => {
            let mend = match error.downcast_ref::<RuntimeError>() {
                Some(RuntimeError::Provider { .. }) => {
                    "set `runtime.provider = \"auto\"` or \"cpu\" to go on without it; otherwise look at the driver \
                     (`nvidia-smi`) and at `runtime.library`"
                }
                Some(RuntimeError::Library { .. } | RuntimeError::Environment(_)) => "see the line about the runtime",
                _ => "see the lines about models",
            };
            findings.push(Finding::failed(Subject::Provider, "", format!("{error:#}"), mend));
        }
    }
    findings
}

/// Whether NVIDIA's driver says that there is a card.
fn has_card() -> bool {
    std::path::Path::new("/dev/nvidiactl").exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::check::State;

    #[test]
    fn telemetry_that_somebody_allows_is_a_warning() {
        for (variable, state) in [(None, State::Ok), (Some("1"), State::Ok), (Some("0"), State::Warning)] {
            assert_eq!(telemetry(variable).state, state, "{variable:?}");
        }
    }
}
