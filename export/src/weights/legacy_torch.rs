//! Reader of torch's legacy file format (before version 1.6, or `_use_new_zipfile_serialization=False`), which
//! neither libtorch nor candle reads. After torch's own `serialization.py` (`_legacy_load`): five pickles (magic number,
//! protocol version, sizes of the writer's types, the object, the keys of its storages), then for each key the number
//! of elements (8 bytes, little-endian) and the elements.

use std::collections::HashMap;

use half::{bf16, f16};

use super::pickle::{Element, Global, Id, Pickle, PickleError, Value};
use super::{Tensor, Weights};

/// What the first pickle must hold.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// What the second pickle must hold.
const PROTOCOL: i128 = 1001;
/// Axes of a tensor, at most; a convolution's weight has four.
const MAX_AXES: usize = 8;

/// Why a file in the legacy torch format can't be read.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("not a readable torch weight file: {0}")]
pub struct LegacyTorchError(Reason);

#[derive(Debug, PartialEq, thiserror::Error)]
enum Reason {
    #[error("it is a zip file, torch's format since 1.6; save it with `_use_new_zipfile_serialization=False`")]
    Zip,
    #[error("it does not begin with torch's magic number")]
    Magic,
    #[error("it has protocol version {0}, and only {PROTOCOL} is known")]
    Protocol(i128),
    #[error("it was written on a big-endian machine")]
    BigEndian,
    #[error(transparent)]
    Pickle(#[from] PickleError),
    #[error("it holds no state dict (a dict of names and tensors); save `model.state_dict()` instead of the model")]
    NoStateDict,
    #[error("tensor {name:?}: {what}")]
    Tensor { name: String, what: &'static str },
    #[error("it ends in the middle of storage {number}")]
    TruncatedStorage { number: usize },
    #[error("its list of storages is malformed")]
    StorageKeys,
    #[error("its tensors hold more values than the file has bytes")]
    TooManyValues,
}

/// Reads all tensors of a state dict, whole numbers converted to floats.
///
/// Nothing in the file is executed. Memory and time are bounded by a small multiple of the file's length.
///
/// # Errors
/// When the file is not in this format, is damaged, or holds anything else than a dict of names and tensors.
pub fn read(file: &[u8]) -> Result<Weights, LegacyTorchError> {
    read_state_dict(file).map_err(LegacyTorchError)
}

fn read_state_dict(file: &[u8]) -> Result<Weights, Reason> {
    if file.starts_with(b"PK\x03\x04") {
        return Err(Reason::Zip);
    }
    let mut at = 0;
    // Whatever can't be read as a pickle at the very beginning is simply another kind of file.
    match Pickle::read(file, &mut at).map_err(|_| Reason::Magic)?.root() {
        Value::Int(MAGIC) => {}
        _ => return Err(Reason::Magic),
    }
    match *Pickle::read(file, &mut at)?.root() {
        Value::Int(PROTOCOL) => {}
        Value::Int(other) => return Err(Reason::Protocol(other)),
        _ => return Err(Reason::Magic),
    }
    let writer = Pickle::read(file, &mut at)?;
    if let Value::Dict(pairs) = writer.root() {
        let is_little = |&(key, value): &(Id, Id)| {
            *writer.get(key) != Value::Str("little_endian") || *writer.get(value) == Value::Bool(true)
        };
        if !pairs.iter().all(is_little) {
            return Err(Reason::BigEndian);
        }
    }
    let object = Pickle::read(file, &mut at)?;
    let keys = Pickle::read(file, &mut at)?;
    let tensors = named_tensors(&object)?;
    let elements: HashMap<&str, Element> = tensors.iter().map(|(_, t)| (t.storage_key, t.element)).collect();
    let storages = storages(file, at, &keys, &elements)?;

    let mut budget = file.len();
    let mut weights = Weights::new();
    for (name, tensor) in tensors {
        let values = tensor.values(&storages, &mut budget).map_err(|error| match error {
            ValuesError::Budget => Reason::TooManyValues,
            ValuesError::Malformed(what) => Reason::Tensor {
                name: name.to_owned(),
                what,
            },
        })?;
        weights.insert(
            name.to_owned(),
            Tensor {
                shape: tensor.size,
                values,
            },
        );
    }
    Ok(weights)
}

/// A tensor as the pickle describes it.
struct View<'a> {
    storage_key: &'a str,
    element: Element,
    /// First element in the storage.
    offset: usize,
    size: Vec<usize>,
    /// Elements from one index to the next, for each axis.
    stride: Vec<usize>,
}

fn named_tensors<'a>(object: &Pickle<'a>) -> Result<Vec<(&'a str, View<'a>)>, Reason> {
    let Value::Dict(pairs) = object.root() else {
        return Err(Reason::NoStateDict);
    };
    let tensors = pairs.iter().map(|&(key, value)| {
        let (&Value::Str(name), &Value::Tensor(arguments)) = (object.get(key), object.get(value)) else {
            return Err(Reason::NoStateDict);
        };
        let view = View::read(object, arguments).map_err(|what| Reason::Tensor {
            name: name.to_owned(),
            what,
        })?;
        Ok((name, view))
    });
    tensors.collect()
}

impl<'a> View<'a> {
    fn read(object: &Pickle<'a>, arguments: Id) -> Result<Self, &'static str> {
        let Value::Tuple(arguments) = object.get(arguments) else {
            return Err("it has no description");
        };
        let &[storage, offset, size, stride, ..] = arguments.as_slice() else {
            return Err("its description is short");
        };
        let &Value::Persistent(id) = object.get(storage) else {
            return Err("it has no storage");
        };
        let Value::Tuple(id) = object.get(id) else {
            return Err("its storage has no description");
        };
        let &[tag, class, key, _location, _length, ref view @ ..] = id.as_slice() else {
            return Err("its storage's description is short");
        };
        let (&Value::Str("storage"), &Value::Global(Global::Storage(element)), &Value::Str(storage_key)) =
            (object.get(tag), object.get(class), object.get(key))
        else {
            return Err("its storage is of an unknown kind");
        };
        if view.iter().any(|&view| *object.get(view) != Value::None) {
            return Err("its storage is a part of another one, which is not supported");
        }
        let view = Self {
            storage_key,
            element,
            offset: whole(object, offset)?,
            size: wholes(object, size)?,
            stride: wholes(object, stride)?,
        };
        if view.size.len() == view.stride.len() {
            Ok(view)
        } else {
            Err("its sizes and strides differ in number")
        }
    }

    /// The values in order, last axis fastest. Takes their number off `budget`.
    fn values(&self, storages: &HashMap<&str, &[u8]>, budget: &mut usize) -> Result<Vec<f32>, ValuesError> {
        let storage = storages
            .get(self.storage_key)
            .ok_or(ValuesError::Malformed("its storage is not in the file"))?;
        let count = self
            .size
            .iter()
            .try_fold(1_usize, |count, &length| count.checked_mul(length));
        let count = count.filter(|count| count <= budget).ok_or(ValuesError::Budget)?;
        *budget -= count;
        if count == 0 {
            return Ok(Vec::new());
        }
        let length = storage.len() / self.element.bytes();
        let reach = self
            .size
            .iter()
            .zip(&self.stride)
            .try_fold(self.offset, |reach, (&size, &stride)| {
                reach.checked_add((size - 1).checked_mul(stride)?)
            });
        if reach.is_none_or(|reach| reach >= length) {
            return Err(ValuesError::Malformed("it reaches beyond its storage"));
        }
        let mut values = Vec::with_capacity(count);
        let mut index = vec![0; self.size.len()];
        let mut position = self.offset;
        loop {
            let start = position * self.element.bytes();
            values.push(to_f32(self.element, &storage[start..start + self.element.bytes()]));
            // Counts up the index like an odometer, last axis first.
            let mut axis = self.size.len();
            loop {
                if axis == 0 {
                    return Ok(values);
                }
                axis -= 1;
                index[axis] += 1;
                // Wrapping: the step over the last index is taken back below, wherever it leads.
                position = position.wrapping_add(self.stride[axis]);
                if index[axis] < self.size[axis] {
                    break;
                }
                position = position.wrapping_sub(self.size[axis].wrapping_mul(self.stride[axis]));
                index[axis] = 0;
            }
        }
    }
}

enum ValuesError {
    Budget,
    Malformed(&'static str),
}

fn whole(object: &Pickle<'_>, id: Id) -> Result<usize, &'static str> {
    match *object.get(id) {
        Value::Int(number) => usize::try_from(number).map_err(|_| "a size or stride is negative or huge"),
        _ => Err("a size or stride is not a whole number"),
    }
}

fn wholes(object: &Pickle<'_>, id: Id) -> Result<Vec<usize>, &'static str> {
    match object.get(id) {
        Value::Tuple(items) if items.len() <= MAX_AXES => items.iter().map(|&item| whole(object, item)).collect(),
        Value::Tuple(_) => Err("it has too many axes"),
        _ => Err("its sizes or strides are not a tuple"),
    }
}

/// The bytes of each storage by key. The last pickle says in which order they lie in the file.
fn storages<'a>(
    file: &'a [u8],
    mut at: usize,
    keys: &Pickle<'a>,
    elements: &HashMap<&str, Element>,
) -> Result<HashMap<&'a str, &'a [u8]>, Reason> {
    let Value::List(keys_in_order) = keys.root() else {
        return Err(Reason::StorageKeys);
    };
    let mut storages = HashMap::new();
    for (number, &key) in keys_in_order.iter().enumerate() {
        let truncated = || Reason::TruncatedStorage { number };
        let &Value::Str(key) = keys.get(key) else {
            return Err(Reason::StorageKeys);
        };
        // A storage that no tensor uses has no known element size, so nothing behind it could be found.
        let element = elements.get(key).ok_or(Reason::StorageKeys)?;
        let (count, _) = file
            .get(at..)
            .and_then(|rest| rest.split_first_chunk::<8>())
            .ok_or_else(truncated)?;
        let count = usize::try_from(u64::from_le_bytes(*count)).map_err(|_| truncated())?;
        let start = at + 8;
        let end = count
            .checked_mul(element.bytes())
            .and_then(|length| start.checked_add(length));
        let end = end.ok_or_else(truncated)?;
        storages.insert(key, file.get(start..end).ok_or_else(truncated)?);
        at = end;
    }
    Ok(storages)
}

/// One element. `bytes` is as long as the element is.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "weights are used as f32; counters such as num_batches_tracked are never used"
)]
fn to_f32(element: Element, bytes: &[u8]) -> f32 {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let low = u64::from_le_bytes(wide);
    match element {
        Element::F16 => f16::from_bits(low as u16).to_f32(),
        Element::Bf16 => bf16::from_bits(low as u16).to_f32(),
        Element::F32 => f32::from_bits(low as u32),
        Element::F64 => f64::from_bits(low) as f32,
        Element::U8 | Element::Bool => low as u8 as f32,
        Element::I8 => low as i8 as f32,
        Element::I16 => low as i16 as f32,
        Element::I32 => low as i32 as f32,
        Element::I64 => low as i64 as f32,
    }
}
