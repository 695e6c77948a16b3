//! The smallest networks that a test needs, as ONNX bytes. Field numbers are those of `onnx.proto`.

/// A number in seven-bit groups, the lowest first.
fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field with bytes in it: text, or another message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [vec![number << 3 | 2], varint(content.len()), content.to_vec()].concat()
}

/// A field with a number in it.
fn number(number: u8, value: usize) -> Vec<u8> {
    [vec![number << 3], varint(value)].concat()
}

/// Name and type of an input or output: floats of these dimensions; a name stands for any number.
fn value_info(name: &str, dimensions: &[Result<usize, &str>]) -> Vec<u8> {
    let shape: Vec<u8> = dimensions
        .iter()
        .flat_map(|dimension| match dimension {
            Ok(fixed) => field(1, &number(1, *fixed)),
            Err(any) => field(1, &field(2, any.as_bytes())),
        })
        .collect();
    let tensor = [number(1, 1), field(2, &shape)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

fn node(operation: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(1, input.as_bytes())).collect();
    [inputs, field(2, output.as_bytes()), field(4, operation.as_bytes())].concat()
}

/// Floats that the model holds.
fn constant(name: &str, dimensions: &[usize], values: &[f32]) -> Vec<u8> {
    let dimensions: Vec<u8> = dimensions.iter().flat_map(|size| number(1, *size)).collect();
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    [dimensions, number(2, 1), field(8, name.as_bytes()), field(9, &raw)].concat()
}

/// A model of opset 17 with these parts of a graph: field number and content.
fn model(parts: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let graph: Vec<u8> = parts.iter().flat_map(|(number, part)| field(*number, part)).collect();
    [
        number(1, 8),
        field(7, &[field(2, b"test"), graph].concat()),
        field(8, &number(2, 17)),
    ]
    .concat()
}

const NODE: u8 = 1;
const CONSTANT: u8 = 5;
const INPUT: u8 = 11;
const OUTPUT: u8 = 12;

/// A head: `logits = features * weights + bias`, one row of weights and one bias for each class.
pub(crate) fn linear_head(weights: &[Vec<f32>], bias: &[f32]) -> Vec<u8> {
    let (classes, values) = (weights.len(), weights[0].len());
    let columns: Vec<f32> = (0..values)
        .flat_map(|value| weights.iter().map(move |row| row[value]))
        .collect();
    model(&[
        (NODE, node("MatMul", &["features", "weights"], "products")),
        (NODE, node("Add", &["products", "bias"], "logits")),
        (CONSTANT, constant("weights", &[values, classes], &columns)),
        (CONSTANT, constant("bias", &[classes], bias)),
        (INPUT, value_info("features", &[Err("N"), Ok(values)])),
        (OUTPUT, value_info("logits", &[Err("N"), Ok(classes)])),
    ])
}

/// An embedder with two outputs, both the mean of each channel of a picture of `side` pixels: `features` and `embedding`.
pub(crate) fn mean_colour(side: usize) -> Vec<u8> {
    model(&[
        (NODE, node("GlobalAveragePool", &["image"], "means")),
        (NODE, node("Flatten", &["means"], "features")),
        (NODE, node("Identity", &["features"], "embedding")),
        (INPUT, value_info("image", &[Err("N"), Ok(3), Ok(side), Ok(side)])),
        (OUTPUT, value_info("features", &[Err("N"), Ok(3)])),
        (OUTPUT, value_info("embedding", &[Err("N"), Ok(3)])),
    ])
}

/// `out = image + weight`, where the one float of the weight lies in the file `data` beside the model.
pub(crate) fn with_external_data(data: &str) -> Vec<u8> {
    let entry = |key: &str, value: &str| field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat());
    let weight = [
        number(1, 1),
        number(2, 1),
        field(8, b"weight"),
        entry("location", data),
        entry("length", "4"),
        // Data location: external.
        number(14, 1),
    ]
    .concat();
    model(&[
        (NODE, node("Add", &["image", "weight"], "out")),
        (CONSTANT, weight),
        (INPUT, value_info("image", &[1, 3, 2, 2].map(Ok))),
        (OUTPUT, value_info("out", &[1, 3, 2, 2].map(Ok))),
    ])
}
