//! Reader of TensorFlow Lite models: FlatBuffers files whose fields' numbers are in TensorFlow's `schema.fbs`.
//! [`import`] finds the weights of a network in one.

mod flatbuffer;
mod mapping;

use flatbuffer::{OutOfBounds, Table, Vector};
use half::f16;

pub use mapping::{MappingError, import};

use super::Tensor;

/// Tensors, operators, buffers in a file, at most each. MobileFaceNet has 370, 230 and 370.
const MAX_ITEMS: usize = 10_000;
/// Inputs or outputs of an operator and axes of a tensor, at most.
const MAX_SMALL: usize = 16;
/// Bytes of a tensor's name, at most.
const MAX_NAME_BYTES: usize = 1_000;

/// Why a TensorFlow Lite file can't be read.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("not a readable TensorFlow Lite model: {0}")]
pub struct TfliteError(Reason);

#[derive(Debug, PartialEq, thiserror::Error)]
enum Reason {
    #[error("it lacks the mark TFL3 at its beginning")]
    Identifier,
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
    #[error("it has {0} subgraphs, and only files with one are supported")]
    Subgraphs(usize),
    #[error("it has more {0} than any network that is known here")]
    TooMany(&'static str),
    #[error("it refers to {what} {index}, which it does not have")]
    NoSuch { what: &'static str, index: i64 },
    #[error("tensor {0} has a negative size")]
    Shape(usize),
}

/// What an operator does. Only those that the networks here are made of are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `a + b`
    Add,
    /// Convolution, weight `[outputs, height, width, inputs]`
    Conv2d,
    /// Convolution in each channel by itself, weight `[1, height, width, channels]`
    DepthwiseConv2d,
    /// float16 to float32
    Dequantize,
    /// `a * b`
    Mul,
    /// `max(x, 0)`
    Relu,
    /// Another shape, same values
    Reshape,
    /// PReLU, slope `[1, 1, channels]`
    Prelu,
    /// `a - b`
    Sub,
    /// `|x|`
    Abs,
    /// Any other, by its number in the schema
    Other(i32),
}

/// The options of a convolution or of an arithmetic operator; those that an operator lacks have the value that
/// changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Padding so that the size stays (divided by the stride), instead of none.
    pub padding_same: bool,
    /// Step down and to the right, in pixels.
    pub stride: [i32; 2],
    /// Distance between the window's pixels, down and to the right.
    pub dilation: [i32; 2],
    /// Channels out for each channel in, of a depthwise convolution.
    pub depth_multiplier: i32,
    /// Whether an activation is built in.
    pub has_activation: bool,
}

/// An operator, with the indices of the tensors that it reads and writes; `None` for one that is left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Operator {
    /// What it does.
    pub operation: Operation,
    /// Which tensors it reads.
    pub inputs: Vec<Option<usize>>,
    /// Which tensors it writes.
    pub outputs: Vec<Option<usize>>,
    /// How.
    pub options: Options,
}

/// How a constant's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    F32,
    F16,
    Other,
}

/// A tensor's description, and its bytes in the file if it is a constant.
#[derive(Debug, Clone)]
struct TensorEntry<'a> {
    name: String,
    shape: Vec<usize>,
    kind: Kind,
    bytes: &'a [u8],
}

/// A model: one graph of operators over tensors.
#[derive(Debug, Clone)]
pub struct Model<'a> {
    tensors: Vec<TensorEntry<'a>>,
    /// In the order in which they run.
    pub operators: Vec<Operator>,
    /// Which tensors the model takes.
    pub inputs: Vec<Option<usize>>,
    /// Which tensors it gives.
    pub outputs: Vec<Option<usize>>,
}

impl<'a> Model<'a> {
    /// Reads the structure; the constants' values stay in `file` until [`Self::constant`] asks for them.
    ///
    /// # Errors
    /// When the file is not a TensorFlow Lite model, is damaged, or is larger in some respect than any known network.
    pub fn read(file: &'a [u8]) -> Result<Self, TfliteError> {
        Self::read_checked(file).map_err(TfliteError)
    }

    fn read_checked(file: &'a [u8]) -> Result<Self, Reason> {
        if file.get(4..8) != Some(b"TFL3") {
            return Err(Reason::Identifier);
        }
        let model = Table::root(file)?;
        let subgraphs = model.vector(2, 4)?;
        if subgraphs.len != 1 {
            return Err(Reason::Subgraphs(subgraphs.len));
        }
        let graph = subgraphs.table(0)?;
        let codes = collect(model.vector(1, 4)?, "operator codes", |codes, i| {
            operation(&codes.table(i)?)
        })?;
        let buffers = collect(model.vector(4, 4)?, "buffers", |buffers, i| {
            Ok(buffers.table(i)?.bytes(0)?)
        })?;
        let tensors = collect(graph.vector(0, 4)?, "tensors", |tensors, i| {
            tensor(&tensors.table(i)?, i, &buffers)
        })?;
        let operators = collect(graph.vector(3, 4)?, "operators", |operators, i| {
            operator(&operators.table(i)?, &codes, tensors.len())
        })?;
        let inputs = tensor_indices(graph.vector(1, 4)?, tensors.len())?;
        let outputs = tensor_indices(graph.vector(2, 4)?, tensors.len())?;
        Ok(Self {
            tensors,
            operators,
            inputs,
            outputs,
        })
    }

    /// The shape of a tensor; empty for one that is not there.
    pub fn shape(&self, tensor: usize) -> &[usize] {
        self.tensors.get(tensor).map_or(&[], |entry| &entry.shape)
    }

    /// The name of a tensor; empty for one that is not there.
    pub fn name(&self, tensor: usize) -> &str {
        self.tensors.get(tensor).map_or("", |entry| &entry.name)
    }

    /// The values of a constant of 16-bit or 32-bit floats; `None` for anything else, and where the number of values
    /// does not fit the shape.
    pub fn constant(&self, tensor: usize) -> Option<Tensor> {
        let entry = self.tensors.get(tensor)?;
        let values: Vec<f32> = match entry.kind {
            Kind::F32 if entry.bytes.len().is_multiple_of(4) => entry
                .bytes
                .as_chunks()
                .0
                .iter()
                .map(|&bytes| f32::from_le_bytes(bytes))
                .collect(),
            Kind::F16 if entry.bytes.len().is_multiple_of(2) => entry
                .bytes
                .as_chunks()
                .0
                .iter()
                .map(|&bytes| f16::from_le_bytes(bytes).to_f32())
                .collect(),
            _ => return None,
        };
        let count = entry
            .shape
            .iter()
            .try_fold(1_usize, |count, &length| count.checked_mul(length));
        (count == Some(values.len()) && !values.is_empty()).then(|| Tensor {
            shape: entry.shape.clone(),
            values,
        })
    }
}

/// Reads each item of a vector, which may not be longer than [`MAX_ITEMS`].
fn collect<'a, T>(
    vector: Vector<'a>,
    what: &'static str,
    read: impl Fn(&Vector<'a>, usize) -> Result<T, Reason>,
) -> Result<Vec<T>, Reason> {
    if vector.len > MAX_ITEMS {
        return Err(Reason::TooMany(what));
    }
    (0..vector.len).map(|index| read(&vector, index)).collect()
}

fn small_numbers(vector: Vector<'_>, what: &'static str) -> Result<Vec<i32>, Reason> {
    if vector.len > MAX_SMALL {
        return Err(Reason::TooMany(what));
    }
    (0..vector.len).map(|index| Ok(vector.i32(index)?)).collect()
}

fn tensor_indices(vector: Vector<'_>, tensors: usize) -> Result<Vec<Option<usize>>, Reason> {
    let indices = small_numbers(vector, "inputs or outputs of an operator")?;
    let indices = indices.into_iter().map(|index| match usize::try_from(index) {
        Ok(index) if index < tensors => Ok(Some(index)),
        Err(_) if index == -1 => Ok(None),
        _ => Err(Reason::NoSuch {
            what: "tensor",
            index: index.into(),
        }),
    });
    indices.collect()
}

fn operation(code: &Table<'_>) -> Result<Operation, Reason> {
    // Field 0 is the byte of old files, field 3 the number that newer ones use; the schema says to take the larger.
    let number = i32::from(code.u8(0)?.cast_signed()).max(code.i32(3, 0)?);
    Ok(match number {
        0 => Operation::Add,
        3 => Operation::Conv2d,
        4 => Operation::DepthwiseConv2d,
        6 => Operation::Dequantize,
        18 => Operation::Mul,
        19 => Operation::Relu,
        22 => Operation::Reshape,
        41 => Operation::Sub,
        54 => Operation::Prelu,
        101 => Operation::Abs,
        other => Operation::Other(other),
    })
}

fn tensor<'a>(table: &Table<'a>, index: usize, buffers: &[&'a [u8]]) -> Result<TensorEntry<'a>, Reason> {
    let shape = small_numbers(table.vector(0, 4)?, "axes of a tensor")?;
    let shape = shape
        .into_iter()
        .map(|length| usize::try_from(length).map_err(|_| Reason::Shape(index)));
    let shape = shape.collect::<Result<_, _>>()?;
    let kind = match table.u8(1)? {
        0 => Kind::F32,
        1 => Kind::F16,
        _ => Kind::Other,
    };
    let buffer = table.u32(2)?;
    let no_such = Reason::NoSuch {
        what: "buffer",
        index: buffer.into(),
    };
    let bytes = buffers.get(buffer as usize).copied().ok_or(no_such)?;
    let name = table.bytes(3)?;
    let name = String::from_utf8_lossy(&name[..name.len().min(MAX_NAME_BYTES)]).into_owned();
    Ok(TensorEntry {
        name,
        shape,
        kind,
        bytes,
    })
}

fn operator(table: &Table<'_>, codes: &[Operation], tensors: usize) -> Result<Operator, Reason> {
    let code = table.u32(0)?;
    let operation = *codes.get(code as usize).ok_or(Reason::NoSuch {
        what: "operator code",
        index: code.into(),
    })?;
    let inputs = tensor_indices(table.vector(1, 4)?, tensors)?;
    let outputs = tensor_indices(table.vector(2, 4)?, tensors)?;
    let mut options = Options {
        padding_same: false,
        stride: [1, 1],
        dilation: [1, 1],
        depth_multiplier: 1,
        has_activation: false,
    };
    if let Some(table) = table.table(4)? {
        // The numbers of the fields differ: a depthwise convolution has its multiplier in between.
        let shift = match operation {
            Operation::Conv2d => Some(0),
            Operation::DepthwiseConv2d => Some(1),
            _ => None,
        };
        if let Some(shift) = shift {
            options.padding_same = table.u8(0)? == 0;
            options.stride = [table.i32(2, 0)?, table.i32(1, 0)?];
            options.has_activation = table.u8(3 + shift)? != 0;
            options.dilation = [table.i32(5 + shift, 1)?, table.i32(4 + shift, 1)?];
            options.depth_multiplier = if shift == 1 { table.i32(3, 0)? } else { 1 };
        } else if matches!(operation, Operation::Add | Operation::Sub | Operation::Mul) {
            options.has_activation = table.u8(0)? != 0;
        }
    }
    Ok(Operator {
        operation,
        inputs,
        outputs,
        options,
    })
}
