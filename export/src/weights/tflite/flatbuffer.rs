//! A bounds-checked view of a FlatBuffers file, as far as TensorFlow Lite needs it. The format: tables start with the
//! distance back to a vtable, which lists the fields' offsets; references are 32-bit distances forward; all little-endian
//! (flatbuffers.dev, "FlatBuffer internals"). Written here because the `flatbuffers` crate needs code generated from a
//! schema, several thousand lines for TensorFlow Lite, for the twenty fields that are read.

/// The file is not what its offsets claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an offset leads out of the file; it is truncated or damaged")]
pub(super) struct OutOfBounds;

/// A table: an object with numbered optional fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    file: &'a [u8],
    at: usize,
    vtable: &'a [u8],
}

/// A vector: its items' position and number, known to lie in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vector<'a> {
    file: &'a [u8],
    at: usize,
    /// Number of items.
    pub(super) len: usize,
}

impl<'a> Table<'a> {
    /// The root of a file.
    pub(super) fn root(file: &'a [u8]) -> Result<Self, OutOfBounds> {
        Self::at(file, reference(file, 0)?)
    }

    fn at(file: &'a [u8], at: usize) -> Result<Self, OutOfBounds> {
        let back = i64::from(i32::from_le_bytes(array(file, at)?));
        let start = i64::try_from(at)
            .ok()
            .and_then(|at| usize::try_from(at - back).ok())
            .ok_or(OutOfBounds)?;
        let length = usize::from(u16::from_le_bytes(array(file, start)?));
        let vtable = file
            .get(start..start + length)
            .filter(|vtable| vtable.len() >= 4)
            .ok_or(OutOfBounds)?;
        Ok(Self { file, at, vtable })
    }

    /// Where field `number` lies, if it is there.
    fn field(&self, number: usize) -> Option<usize> {
        let entry = self.vtable.get(4 + 2 * number..6 + 2 * number)?;
        let offset = usize::from(u16::from_le_bytes([entry[0], entry[1]]));
        (offset != 0).then_some(self.at + offset)
    }

    pub(super) fn u8(&self, number: usize) -> Result<u8, OutOfBounds> {
        self.field(number)
            .map_or(Ok(0), |at| array(self.file, at).map(|[byte]| byte))
    }

    pub(super) fn u32(&self, number: usize) -> Result<u32, OutOfBounds> {
        self.field(number)
            .map_or(Ok(0), |at| array(self.file, at).map(u32::from_le_bytes))
    }

    /// `default` when the field is absent.
    pub(super) fn i32(&self, number: usize, default: i32) -> Result<i32, OutOfBounds> {
        self.field(number)
            .map_or(Ok(default), |at| array(self.file, at).map(i32::from_le_bytes))
    }

    pub(super) fn table(&self, number: usize) -> Result<Option<Self>, OutOfBounds> {
        self.field(number)
            .map(|at| Self::at(self.file, reference(self.file, at)?))
            .transpose()
    }

    /// A vector of items of `item_bytes`; empty when the field is absent.
    pub(super) fn vector(&self, number: usize, item_bytes: usize) -> Result<Vector<'a>, OutOfBounds> {
        let Some(at) = self.field(number) else {
            return Ok(Vector {
                file: self.file,
                at: 0,
                len: 0,
            });
        };
        let at = reference(self.file, at)?;
        let len = u32::from_le_bytes(array(self.file, at)?) as usize;
        let at = at + 4;
        let end = len
            .checked_mul(item_bytes)
            .and_then(|bytes| bytes.checked_add(at))
            .ok_or(OutOfBounds)?;
        if end > self.file.len() {
            Err(OutOfBounds)
        } else {
            Ok(Vector {
                file: self.file,
                at,
                len,
            })
        }
    }

    /// The bytes of a vector of bytes or of a string.
    pub(super) fn bytes(&self, number: usize) -> Result<&'a [u8], OutOfBounds> {
        let vector = self.vector(number, 1)?;
        self.file.get(vector.at..vector.at + vector.len).ok_or(OutOfBounds)
    }
}

impl<'a> Vector<'a> {
    /// Item `index` of a vector of tables.
    pub(super) fn table(&self, index: usize) -> Result<Table<'a>, OutOfBounds> {
        Table::at(self.file, reference(self.file, self.item(index, 4)?)?)
    }

    /// Item `index` of a vector of whole numbers.
    pub(super) fn i32(&self, index: usize) -> Result<i32, OutOfBounds> {
        array(self.file, self.item(index, 4)?).map(i32::from_le_bytes)
    }

    fn item(&self, index: usize, bytes: usize) -> Result<usize, OutOfBounds> {
        if index < self.len {
            Ok(self.at + index * bytes)
        } else {
            Err(OutOfBounds)
        }
    }
}

fn array<const N: usize>(file: &[u8], at: usize) -> Result<[u8; N], OutOfBounds> {
    file.get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(OutOfBounds)
}

/// Follows the reference at `at`.
fn reference(file: &[u8], at: usize) -> Result<usize, OutOfBounds> {
    let distance = u32::from_le_bytes(array(file, at)?) as usize;
    at.checked_add(distance)
        .filter(|&target| target < file.len())
        .ok_or(OutOfBounds)
}
