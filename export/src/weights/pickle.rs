//! An interpreter of the few pickle operations that a torch state dict is made of. It builds plain data and a few
//! known torch objects; it never imports or calls anything, whatever the file says.
//!
//! Bounded: an operation makes one value at most, values only move, and what has to be copied is counted, so memory
//! and time grow linearly with the length of the pickle. Values live in an arena and refer to each other by index, so
//! neither nesting nor cycles can exhaust the stack.

use std::collections::HashMap;

/// Index of a value in [`Pickle::values`].
pub(super) type Id = u32;

/// Values in one pickle, at most. OpenFace's state dict of 261 tensors makes about 7,000.
const MAX_VALUES: usize = 1 << 20;

/// The classes and functions that may be named. All others are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Element),
}

/// What a torch storage holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F16,
    Bf16,
    F32,
    F64,
    U8,
    I8,
    I16,
    I32,
    I64,
    Bool,
}

impl Element {
    /// Bytes of one element in the file.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }
}

/// A value that the pickle made.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    /// Whole numbers up to 16 bytes: torch's magic number takes ten.
    Int(i128),
    Float,
    Str(&'a str),
    Global(Global),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A storage: its persistent id as it stands in the pickle (a tuple).
    Persistent(Id),
    /// `_rebuild_tensor(storage, offset, size, stride, …)`: its arguments (a tuple).
    Tensor(Id),
}

/// What a pickle evaluated to.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Id,
}

/// Why a pickle can't be read.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum PickleError {
    #[error("it ends in the middle of a pickle")]
    Truncated,
    #[error("byte {at}: pickle operation 0x{code:02x} has no place in a torch state dict")]
    Operation { at: usize, code: u8 },
    #[error("byte {at}: it names {name:?}, which has no place in a torch state dict; nothing was run")]
    Global { at: usize, name: String },
    #[error("byte {at}: the pickle contradicts itself ({what})")]
    Malformed { at: usize, what: &'static str },
}

impl<'a> Pickle<'a> {
    /// Evaluates the pickle that starts at `*at` and moves `*at` behind its end.
    pub(super) fn read(bytes: &'a [u8], at: &mut usize) -> Result<Self, PickleError> {
        let mut machine = Machine {
            bytes,
            at: *at,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            copied: 0,
        };
        let root = machine.run()?;
        *at = machine.at;
        Ok(Self {
            values: machine.values,
            root,
        })
    }

    /// What the pickle as a whole stands for.
    pub(super) fn root(&self) -> &Value<'a> {
        self.get(self.root)
    }

    /// The value with that id.
    pub(super) fn get(&self, id: Id) -> &Value<'a> {
        // Ids are only made together with their value, so the fallback is never taken.
        self.values.get(id as usize).unwrap_or(&Value::None)
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Entries that were copied from one value into another.
    copied: usize,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Id, PickleError> {
        loop {
            let code = self.take(1)?[0];
            match code {
                b'.' => return self.pop(),
                0x80 => {
                    self.take(1)?;
                }
                b'}' => self.push(Value::Dict(Vec::new()))?,
                b']' => self.push(Value::List(Vec::new()))?,
                b')' => self.push(Value::Tuple(Vec::new()))?,
                b'(' => self.marks.push(self.stack.len()),
                b'N' => self.push(Value::None)?,
                0x88 => self.push(Value::Bool(true))?,
                0x89 => self.push(Value::Bool(false))?,
                b'K' => self.push_int(1, false)?,
                b'M' => self.push_int(2, false)?,
                b'J' => self.push_int(4, true)?,
                0x8a => {
                    let length = usize::from(self.take(1)?[0]);
                    self.push_int(length, true)?;
                }
                b'G' => {
                    self.take(8)?;
                    self.push(Value::Float)?;
                }
                b'X' => {
                    let length = self.u32()? as usize;
                    self.push_str(length)?;
                }
                // Strings as Python 2 wrote them; the OpenFace weights are that old.
                b'U' => {
                    let length = usize::from(self.take(1)?[0]);
                    self.push_str(length)?;
                }
                b'T' => {
                    let length = self.u32()? as usize;
                    self.push_str(length)?;
                }
                b'c' => self.push_global()?,
                b'q' => {
                    let slot = u32::from(self.take(1)?[0]);
                    self.memoize(slot)?;
                }
                b'r' => {
                    let slot = self.u32()?;
                    self.memoize(slot)?;
                }
                b'h' => {
                    let slot = u32::from(self.take(1)?[0]);
                    self.recall(slot)?;
                }
                b'j' => {
                    let slot = self.u32()?;
                    self.recall(slot)?;
                }
                b't' => {
                    let items = self.pop_to_mark()?;
                    self.push(Value::Tuple(items))?;
                }
                0x85..=0x87 => {
                    let length = usize::from(code - 0x84);
                    let start = self
                        .stack
                        .len()
                        .checked_sub(length)
                        .ok_or(self.malformed("too few values"))?;
                    let items = self.stack.split_off(start);
                    self.push(Value::Tuple(items))?;
                }
                b'Q' => {
                    let id = self.pop()?;
                    self.push(Value::Persistent(id))?;
                }
                b'R' => self.reduce()?,
                // The state of an OrderedDict is its attributes, such as torch's `_metadata`; no weight is in it.
                b'b' => {
                    self.pop()?;
                }
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.top_dict()?.push((key, value));
                }
                b'u' => {
                    let items = self.pop_to_mark()?;
                    let (pairs, rest) = items.as_chunks::<2>();
                    if !rest.is_empty() {
                        return Err(self.malformed("a key without a value"));
                    }
                    self.top_dict()?.extend(pairs.iter().map(|&[key, value]| (key, value)));
                }
                b'a' => {
                    let value = self.pop()?;
                    self.top_list()?.push(value);
                }
                b'e' => {
                    let items = self.pop_to_mark()?;
                    self.top_list()?.extend(items);
                }
                code => return Err(PickleError::Operation { at: self.at - 1, code }),
            }
        }
    }

    /// Calls of the few functions that may be named, as data.
    fn reduce(&mut self) -> Result<(), PickleError> {
        let arguments = self.pop()?;
        let function = self.pop()?;
        let &Value::Global(function) = self.value(function) else {
            return Err(self.malformed("a call of something that is no function"));
        };
        let Value::Tuple(items) = self.value(arguments) else {
            return Err(self.malformed("a call without arguments"));
        };
        let result = match function {
            Global::RebuildTensor => Value::Tensor(arguments),
            Global::RebuildParameter => {
                let data = items
                    .first()
                    .copied()
                    .ok_or(self.malformed("a parameter without data"))?;
                self.stack.push(data);
                return Ok(());
            }
            Global::OrderedDict => {
                let pairs = self.ordered_dict_pairs(items)?;
                // One list may be named by any number of calls, and each of them copies it.
                self.copied += pairs.len();
                if self.copied > MAX_VALUES {
                    return Err(self.malformed("too many values"));
                }
                Value::Dict(pairs)
            }
            Global::Storage(_) => return Err(self.malformed("a storage that is called")),
        };
        self.push(result)
    }

    /// The arguments of `OrderedDict(…)`: nothing, or, from Python 2, a list of two-value lists.
    fn ordered_dict_pairs(&self, arguments: &[Id]) -> Result<Vec<(Id, Id)>, PickleError> {
        let Some(&pairs) = arguments.first() else {
            return Ok(Vec::new());
        };
        let Value::List(pairs) = self.value(pairs) else {
            return Err(self.malformed("an OrderedDict of something that is no list"));
        };
        let pairs = pairs.iter().map(|&pair| match self.value(pair) {
            Value::List(pair) | Value::Tuple(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
            _ => Err(self.malformed("an OrderedDict of something that is no pair")),
        });
        pairs.collect()
    }

    fn push_global(&mut self) -> Result<(), PickleError> {
        let at = self.at - 1;
        let module = self.line()?;
        let name = self.line()?;
        let global = match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("torch", "HalfStorage") => Global::Storage(Element::F16),
            ("torch", "BFloat16Storage") => Global::Storage(Element::Bf16),
            ("torch", "FloatStorage") => Global::Storage(Element::F32),
            ("torch", "DoubleStorage") => Global::Storage(Element::F64),
            ("torch", "ByteStorage") => Global::Storage(Element::U8),
            ("torch", "CharStorage") => Global::Storage(Element::I8),
            ("torch", "ShortStorage") => Global::Storage(Element::I16),
            ("torch", "IntStorage") => Global::Storage(Element::I32),
            ("torch", "LongStorage") => Global::Storage(Element::I64),
            ("torch", "BoolStorage") => Global::Storage(Element::Bool),
            _ => {
                let name = format!("{module}.{name}").chars().take(100).collect();
                return Err(PickleError::Global { at, name });
            }
        };
        self.push(Value::Global(global))
    }

    /// A little-endian whole number of `length` bytes.
    fn push_int(&mut self, length: usize, signed: bool) -> Result<(), PickleError> {
        let bytes = self.take(length)?;
        if length > 16 {
            return Err(self.malformed("a number of more than 16 bytes"));
        }
        let negative = signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 16];
        wide[..length].copy_from_slice(bytes);
        self.push(Value::Int(i128::from_le_bytes(wide)))
    }

    fn push_str(&mut self, length: usize) -> Result<(), PickleError> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| self.malformed("a text that is not UTF-8"))?;
        self.push(Value::Str(text))
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), PickleError> {
        let id = Id::try_from(self.values.len()).map_err(|_| self.malformed("too many values"))?;
        if self.values.len() >= MAX_VALUES {
            return Err(self.malformed("too many values"));
        }
        self.values.push(value);
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.malformed("too few values"));
        }
        self.stack.pop().ok_or(self.malformed("too few values"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, PickleError> {
        let mark = self.marks.pop().ok_or(self.malformed("an end without a beginning"))?;
        if mark > self.stack.len() {
            return Err(self.malformed("too few values"));
        }
        Ok(self.stack.split_off(mark))
    }

    fn memoize(&mut self, slot: u32) -> Result<(), PickleError> {
        let id = *self.stack.last().ok_or(self.malformed("too few values"))?;
        self.memo.insert(slot, id);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<(), PickleError> {
        let id = *self.memo.get(&slot).ok_or(self.malformed("a reference to nothing"))?;
        self.stack.push(id);
        Ok(())
    }

    fn top_dict(&mut self) -> Result<&mut Vec<(Id, Id)>, PickleError> {
        let error = self.malformed("an entry for something that is no dict");
        let top = self.stack.last().and_then(|&id| self.values.get_mut(id as usize));
        match top {
            Some(Value::Dict(pairs)) => Ok(pairs),
            _ => Err(error),
        }
    }

    fn top_list(&mut self) -> Result<&mut Vec<Id>, PickleError> {
        let error = self.malformed("an item for something that is no list");
        let top = self.stack.last().and_then(|&id| self.values.get_mut(id as usize));
        match top {
            Some(Value::List(items)) => Ok(items),
            _ => Err(error),
        }
    }

    fn value(&self, id: Id) -> &Value<'a> {
        // Ids are only made together with their value, so the fallback is never taken.
        self.values.get(id as usize).unwrap_or(&Value::None)
    }

    fn malformed(&self, what: &'static str) -> PickleError {
        PickleError::Malformed { at: self.at, what }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], PickleError> {
        let end = self.at.checked_add(length).ok_or(PickleError::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(PickleError::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, PickleError> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Up to the next line feed, which is consumed but not returned.
    fn line(&mut self) -> Result<&'a str, PickleError> {
        // Names of modules are short; without a limit a file of nothing but names would be searched over and over.
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let rest = &rest[..rest.len().min(256)];
        let length = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or(self.malformed("a name without an end"))?;
        let line = std::str::from_utf8(&rest[..length]).map_err(|_| self.malformed("a name that is not UTF-8"))?;
        self.at += length + 1;
        Ok(line)
    }
}
