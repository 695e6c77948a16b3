//! The networks, each described once. See [`graph`] for what a description is.

pub mod graph;
mod mobilefacenet;
mod onet;
mod pnet;
mod rnet;

use clap::ValueEnum;
use graph::Graph;

/// A network that we have a description of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// MTCNN's first network: finds candidates on a whole picture
    MtcnnPnet,
    /// MTCNN's second network: looks at each candidate, 24x24
    MtcnnRnet,
    /// MTCNN's third network: the last word and the landmarks, 48x48
    MtcnnOnet,
    /// MobileFaceNet: embeds an aligned face, 112x112
    #[value(name = "mobilefacenet")]
    MobileFaceNet,
}

impl Network {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::MtcnnPnet, Self::MtcnnRnet, Self::MtcnnOnet, Self::MobileFaceNet];

    /// Its description.
    pub fn graph(self) -> Graph {
        match self {
            Self::MtcnnPnet => pnet::graph(),
            Self::MtcnnRnet => rnet::graph(),
            Self::MtcnnOnet => onet::graph(),
            Self::MobileFaceNet => mobilefacenet::graph(),
        }
    }
}
