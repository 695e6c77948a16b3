//! The smallest networks that a test needs, as ONNX bytes. Field numbers are those of `onnx.proto`.

/// A field with bytes in it: text, or another message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(content);
    bytes
}

/// A field with a number below 128 in it.
fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

/// Name and type of an input or output: floats of these dimensions.
fn value_info(name: &str, dimensions: &[u8]) -> Vec<u8> {
    let shape: Vec<u8> = dimensions
        .iter()
        .flat_map(|dimension| field(1, &number(1, *dimension)))
        .collect();
    let tensor = [number(1, 1), field(2, &shape)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

/// `out = image + weight`, where the one float of the weight lies in the file `data` beside the model.
pub(crate) fn with_external_data(data: &str) -> Vec<u8> {
    let node = [
        field(1, b"image"),
        field(1, b"weight"),
        field(2, b"out"),
        field(4, b"Add"),
    ]
    .concat();
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
    let graph = [
        field(1, &node),
        field(2, b"external"),
        field(5, &weight),
        field(11, &value_info("image", &[1, 3, 2, 2])),
        field(12, &value_info("out", &[1, 3, 2, 2])),
    ]
    .concat();
    [number(1, 8), field(7, &graph), field(8, &number(2, 17))].concat()
}
