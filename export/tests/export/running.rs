//! Models in ONNX Runtime, and numbers to give them.

use std::sync::OnceLock;

use ort::session::Session;

use crate::packages;

/// Numbers that look random and are the same everywhere, -1 to 1 (splitmix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    #[expect(clippy::cast_precision_loss, reason = "24 bits fit f32")]
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn take(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// A session of one thread on the model; `None` where there is no ONNX Runtime.
pub(crate) fn session(onnx: &[u8]) -> Option<Session> {
    static ENVIRONMENT: OnceLock<Option<ort::environment::Environment>> = OnceLock::new();
    let load = || {
        Some(
            ort::init_from(packages::runtime_library()?)
                .unwrap()
                .with_telemetry(false)
                .build()
                .unwrap(),
        )
    };
    let environment = ENVIRONMENT.get_or_init(load).as_ref()?;
    let builder = Session::builder(environment).unwrap();
    Some(builder.with_intra_threads(1).unwrap().commit_from_memory(onnx).unwrap())
}

/// One output of a run, with its shape.
pub(crate) fn run(
    session: &mut Session,
    input: &str,
    output: &str,
    shape: &[usize],
    values: &[f32],
) -> (Vec<i64>, Vec<f32>) {
    let value = ort::value::TensorRef::from_array_view((shape, values)).unwrap();
    let outputs = session.run(ort::inputs![input => value]).unwrap();
    let (shape, values) = outputs[output].try_extract_tensor::<f32>().unwrap();
    (shape.to_vec(), values.to_vec())
}
