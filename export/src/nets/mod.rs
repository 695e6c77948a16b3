//! The networks, each described once. See [`graph`] for what a description is.

pub mod graph;
mod head;
mod mobilefacenet;
mod nn4_small2;
mod onet;
mod pnet;
mod rnet;

use clap::ValueEnum;
use graph::Graph;
pub use head::head;

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
    /// FaceNet's NN4.small2, as OpenFace has it: embeds an aligned face, 96x96
    #[value(name = "nn4-small2")]
    Nn4Small2,
}

impl Network {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::MtcnnPnet,
        Self::MtcnnRnet,
        Self::MtcnnOnet,
        Self::MobileFaceNet,
        Self::Nn4Small2,
    ];

    /// Its description.
    pub fn graph(self) -> Graph {
        match self {
            Self::MtcnnPnet => pnet::graph(),
            Self::MtcnnRnet => rnet::graph(),
            Self::MtcnnOnet => onet::graph(),
            Self::MobileFaceNet => mobilefacenet::graph(),
            Self::Nn4Small2 => nn4_small2::graph(),
        }
    }

    /// How the caller normalises the image, as `(mean, scale)` of `(value - mean) * scale` with values from 0 to 255.
    pub fn mean_and_scale(self) -> (f64, f64) {
        match self {
            Self::MtcnnPnet | Self::MtcnnRnet | Self::MtcnnOnet | Self::MobileFaceNet => (127.5, 0.0078125),
            Self::Nn4Small2 => (0.0, 1.0 / 255.0),
        }
    }
}
