//! The numbers and texts of a NUT stream.

use std::io::Read;

use super::nut::NutError;

/// A number in groups of seven bits, the highest first.
pub(super) fn varint(input: &mut impl Read) -> Result<u64, NutError> {
    let mut value = 0_u64;
    for _ in 0..10 {
        let [byte] = fixed::<1>(input)?;
        if value >> 57 != 0 {
            return Err(NutError::Malformed("a number that is too large"));
        }
        value = value << 7 | u64::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(NutError::Malformed("a number that is too long"))
}

/// A number with a sign: 0, 1, -1, 2, -2, …
pub(super) fn signed(input: &mut impl Read) -> Result<i64, NutError> {
    let value = i64::try_from(varint(input)?)
        .ok()
        .and_then(|value| value.checked_add(1))
        .ok_or(NutError::Malformed("a number that is too large"))?;
    Ok(if value & 1 == 1 { -(value >> 1) } else { value >> 1 })
}

/// As many bytes as the type says.
pub(super) fn fixed<const N: usize>(input: &mut impl Read) -> Result<[u8; N], NutError> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Bytes with their number before them, out of a header that was read already.
pub(super) fn bytes<'a>(body: &mut &'a [u8]) -> Result<&'a [u8], NutError> {
    let length = usize::try_from(varint(body)?).unwrap_or(usize::MAX);
    if length > body.len() {
        return Err(NutError::Malformed("a text that is longer than its header"));
    }
    let (head, tail) = body.split_at(length);
    *body = tail;
    Ok(head)
}
