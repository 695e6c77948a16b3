//! The networks in use, as they are named to others.

use std::sync::Arc;

use crate::config::Settings;
use crate::identify::IdentifierSource;
use crate::model::{EmbedderModel, Kind, ModelFile};
use crate::networks::{self, DETECTOR, EMBEDDING};
use crate::publish::ModelInfo;
use crate::runtime::{Proven, Provider, ProviderInUse};

pub(super) struct NetworksInUse {
    /// In events: the embedder and perhaps the head, each with the first digits of its sha256.
    pub(super) model: Arc<str>,
    files: Vec<FileInUse>,
}

/// A file of a network.
struct FileInUse {
    /// In `info`.
    name: String,
    sha256: String,
    /// What the runtime calls it; `None` for a head.
    network: Option<String>,
}

impl NetworksInUse {
    /// In `info`, as `provider` runs them.
    pub(super) fn run_by(&self, provider: &ProviderInUse) -> Vec<ModelInfo> {
        let info = |file: &FileInUse| {
            // Heads run on the CPU whatever runs the others, in sessions that know nothing else.
            let proof = file.network.as_deref().and_then(|network| provider.of(network));
            let (by, proven) = proof.map_or((Provider::Cpu, Proven::OnlyProvider), |proof| {
                (proof.provider, proof.proven)
            });
            ModelInfo {
                name: file.name.clone(),
                sha256: file.sha256.clone(),
                provider: by.name(),
                proven: proven.name(),
            }
        };
        self.files.iter().map(info).collect()
    }
}

pub(super) fn networks_in_use(
    settings: &Settings,
    embedder: &EmbedderModel,
    source: &IdentifierSource,
) -> anyhow::Result<NetworksInUse> {
    let head = match source {
        IdentifierSource::Head(head) => Some(head.model()),
        IdentifierSource::Gallery { .. } => None,
    };
    let catalogue = networks::catalogue(&settings.runtime)?;
    let in_use = catalogue.models().filter(|model| match model.kind {
        Kind::Detector => model.name == DETECTOR,
        Kind::Embedder => model.name == embedder.name,
        Kind::Head => head.is_some_and(|head| model.name == head.name),
    });
    let files = in_use.flat_map(|model| {
        model.files.iter().map(|(role, file)| FileInUse {
            name: format!("{}/{role}", model.name),
            sha256: file.sha256.clone(),
            network: match model.kind {
                Kind::Detector => Some(role.clone()),
                Kind::Embedder => Some(EMBEDDING.to_owned()),
                Kind::Head => None,
            },
        })
    });
    let with_digits = |name: &str, file: &ModelFile| format!("{name}-{}", file.sha256.get(..8).unwrap_or(&file.sha256));
    let mut model = with_digits(&embedder.name, &embedder.file);
    if let Some(head) = head {
        model = format!("{model}+{}", with_digits(&head.name, &head.file));
    }
    Ok(NetworksInUse {
        model: model.into(),
        files: files.collect(),
    })
}
