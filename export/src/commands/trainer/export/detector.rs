//! The detector's part of an export: MTCNN's three networks.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use kith::model::{Kind, Model, ModelFile};
use tch::{Device, Tensor};

use super::parity::apart;
use super::{Args, Parcel, entry};
use crate::faces::{AlignedFace, AlignedFolder};
use crate::make::{self, Source};
use crate::nets::Network;
use crate::train::net::Net;
use crate::train::samples;

/// Adds the detector, from the package's weight files in `packages`.
pub(super) fn detector(
    args: &Args,
    packages: &Path,
    folder: &AlignedFolder,
    faces: &[&AlignedFace],
    parcel: &mut Parcel,
) -> anyhow::Result<()> {
    let mut files = BTreeMap::new();
    let (mean, scale) = Network::MtcnnPnet.mean_and_scale();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "floats of 32 bits, written down with more digits"
    )]
    let input = kith::model::Input {
        channels: kith::model::Channels::Rgb,
        width_px: None,
        height_px: None,
        mean: mean as f32,
        scale: scale as f32,
    };
    for (role, network, side) in [
        ("pnet", Network::MtcnnPnet, 112),
        ("rnet", Network::MtcnnRnet, 24),
        ("onet", Network::MtcnnOnet, 48),
    ] {
        let path = packages.join(format!("{role}.pt"));
        let file = make::read_weight_file(&path)?;
        let source = Source {
            package: "facenet-pytorch",
            licence: "MIT",
        };
        let made = make::from_bytes(network, &file, source).with_context(|| format!("can't use {}", path.display()))?;
        let net = Net::new(network.graph(), &make::weights_of(network, &file)?, Device::Cpu)?;
        let cuts = samples::cuts(folder, faces, kith::align::Alignment::FivePoint112)?;
        let mut planes = vec![0.0; faces.len() * 3 * side * side];
        for (cut, planes) in cuts.iter().zip(planes.chunks_exact_mut(3 * side * side)) {
            let pixels = u32::try_from(side)?;
            let small = image::imageops::resize(cut, pixels, pixels, image::imageops::FilterType::Triangle);
            kith::embed::normalise(&small, &input, planes);
        }
        let side = i64::try_from(side)?;
        let tensor = Tensor::f_from_slice(&planes)?.f_reshape([i64::try_from(faces.len())?, 3, side, side])?;
        let apart = apart(args, &net, &made.onnx, &tensor)?;
        parcel.apart.push((format!("{} ({role})", args.name), apart));
        let name = format!("{}-{role}.onnx", args.name);
        files.insert(
            role.to_owned(),
            ModelFile {
                path: name.clone().into(),
                sha256: made.sha256,
            },
        );
        parcel.files.push((name, made.onnx));
    }
    parcel.models.push(Model {
        source: "facenet-pytorch".to_owned(),
        licence: "MIT".to_owned(),
        input: Some(input),
        ..entry(&args.name, Kind::Detector, files)
    });
    Ok(())
}
