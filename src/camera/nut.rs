//! A reader for the part of the NUT container that `ffmpeg -f nut -c:v rawvideo` writes: one video stream of raw
//! pictures, each with its time. A bare pipe of pixels would carry neither times nor a change of size.
//!
//! Written after the format's description (<https://ffmpeg.org/~michael/nut.txt>). Whatever the bytes say, the
//! reader holds at most [`MAX_HEADER_BYTES`] of a header and one picture of the size that the header names.

use std::io::{self, Read};

use super::nut_numbers::{bytes, fixed, signed, varint};

/// Longest header that is read, in bytes. FFmpeg's are under a kilobyte.
pub const MAX_HEADER_BYTES: u64 = 64 * 1024;
/// Largest width and height that is taken, in pixels.
pub const MAX_SIDE_PX: u64 = 16_384;

const FILE_ID: &[u8; 25] = b"nut/multimedia container\0";
const MAIN: u64 = 0x4E4D_7A56_1F5F_04AD;
const STREAM: u64 = 0x4E53_1140_5BF2_F9DB;
const SYNCPOINT: u64 = 0x4E4B_E4AD_EECA_4569;
const INDEX: u64 = 0x4E58_DD67_2F23_E64E;
const INFO: u64 = 0x4E49_AB68_B596_BA78;

// The flags of a frame, as the format numbers them.
const CODED_PTS: u64 = 8;
const STREAM_ID: u64 = 16;
const SIZE_MSB: u64 = 32;
const CHECKSUM: u64 = 64;
const RESERVED: u64 = 128;
const SIDE_DATA: u64 = 256;
const HEADER_IDX: u64 = 1024;
const MATCH_TIME: u64 = 2048;
const CODED: u64 = 4096;
const INVALID: u64 = 8192;

/// Why the stream can't be read on.
#[derive(Debug, thiserror::Error)]
pub enum NutError {
    /// The pipe failed, or ended inside of a packet.
    #[error("the decoder's pipe broke: {0}")]
    Pipe(#[from] io::Error),
    /// The bytes are not what FFmpeg writes.
    #[error("the decoder sent what can't be read: {0}")]
    Malformed(&'static str),
    /// A picture of another size than the header says: the camera changed its resolution.
    #[error("the picture's size changed: {got} bytes instead of {expected}")]
    SizeChanged {
        /// What the header's width and height make.
        expected: u64,
        /// What came.
        got: u64,
    },
}

/// What the headers say about the pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

impl Shape {
    /// Bytes of one RGB picture.
    pub fn bytes(self) -> usize {
        self.width as usize * self.height as usize * 3
    }
}

/// How a frame with some first byte is coded, from the main header.
#[derive(Debug, Clone, Copy, Default)]
struct FrameCode {
    flags: u64,
    stream: u64,
    size_mul: u64,
    size_lsb: u64,
    pts_delta: i64,
    reserved: u64,
}

/// Reads pictures from a stream of bytes.
pub struct NutReader<R> {
    input: R,
    codes: Box<[FrameCode; 256]>,
    time_bases: Vec<(u64, u64)>,
    stream: Option<Stream>,
    /// Rows below each picture that are no part of it.
    foot_rows: u32,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    shape: Shape,
    time_base: (u64, u64),
    msb_shift: u32,
    last_pts: i64,
}

/// What comes next in the stream.
enum Packet {
    Header(u64),
    Frame(u8),
    End,
}

impl<R: Read> NutReader<R> {
    /// Reads the headers up to the first picture. `foot_rows` rows at the lower end are no part of a picture: with one,
    /// a picture on its side has another length, and is noticed.
    ///
    /// # Errors
    /// When `input` is no such stream, or fails.
    pub fn open(mut input: R, foot_rows: u32) -> Result<Self, NutError> {
        let mut id = [0; FILE_ID.len()];
        input.read_exact(&mut id)?;
        if &id != FILE_ID {
            return Err(NutError::Malformed("it does not begin as NUT does"));
        }
        let invalid = FrameCode {
            flags: INVALID,
            ..FrameCode::default()
        };
        let mut reader = Self {
            input,
            codes: Box::new([invalid; 256]),
            time_bases: Vec::new(),
            stream: None,
            foot_rows,
        };
        while reader.stream.is_none() {
            match reader.next_packet()? {
                Packet::Header(startcode) => reader.header(startcode)?,
                Packet::Frame(_) => return Err(NutError::Malformed("a picture came before its header")),
                Packet::End => return Err(NutError::Pipe(io::ErrorKind::UnexpectedEof.into())),
            }
        }
        Ok(reader)
    }

    /// The pictures' size.
    pub fn shape(&self) -> Shape {
        // `open` returns only with a stream.
        self.stream.map_or(Shape { width: 0, height: 0 }, |stream| Shape {
            height: stream.shape.height - self.foot_rows,
            ..stream.shape
        })
    }

    /// The bytes come from here.
    pub fn input_mut(&mut self) -> &mut R {
        &mut self.input
    }

    /// Reads the next picture into `pixels`, which must be [`Shape::bytes`] long. Returns its time in seconds on the
    /// stream's own clock, or `None` at the stream's end.
    ///
    /// # Errors
    /// See [`NutError`]; then nothing more can be read.
    pub fn read_picture(&mut self, pixels: &mut [u8]) -> Result<Option<f64>, NutError> {
        loop {
            match self.next_packet()? {
                Packet::End => return Ok(None),
                Packet::Header(startcode) => self.header(startcode)?,
                Packet::Frame(code) => return self.frame(code, pixels).map(Some),
            }
        }
    }

    fn next_packet(&mut self) -> Result<Packet, NutError> {
        let mut first = [0];
        loop {
            match self.input.read(&mut first) {
                Ok(0) => return Ok(Packet::End),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if first[0] != b'N' {
            return Ok(Packet::Frame(first[0]));
        }
        let mut rest = [0; 7];
        self.input.read_exact(&mut rest)?;
        let tail = rest.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Ok(Packet::Header(u64::from(b'N') << 56 | tail))
    }

    fn header(&mut self, startcode: u64) -> Result<(), NutError> {
        if ![MAIN, STREAM, SYNCPOINT, INDEX, INFO].contains(&startcode) {
            return Err(NutError::Malformed("an unknown start code"));
        }
        // The length counts to the end of the packet, the four bytes of the checksum included.
        let length = varint(&mut self.input)?;
        if !(4..=MAX_HEADER_BYTES).contains(&length) {
            return Err(NutError::Malformed("a header is too long or too short"));
        }
        if length > 4096 {
            fixed::<4>(&mut self.input)?;
        }
        let mut body = Vec::new();
        (&mut self.input).take(length).read_to_end(&mut body)?;
        if body.len() as u64 != length {
            return Err(NutError::Pipe(io::ErrorKind::UnexpectedEof.into()));
        }
        let body = &mut &body[..body.len() - 4];
        match startcode {
            MAIN => self.main_header(body),
            STREAM => self.stream_header(body),
            SYNCPOINT => self.syncpoint(body),
            _ => Ok(()), // The index and the infos say nothing that is needed here.
        }
    }

    fn main_header(&mut self, body: &mut &[u8]) -> Result<(), NutError> {
        let version = varint(body)?;
        if !(2..=4).contains(&version) {
            return Err(NutError::Malformed("a version of NUT that is not known"));
        }
        if version > 3 {
            varint(body)?; // The minor version changes nothing.
        }
        if varint(body)? != 1 {
            return Err(NutError::Malformed("more or less than one stream"));
        }
        varint(body)?; // The longest distance between sync points; only for seeking.
        let count = varint(body)?;
        if count == 0 || count > 16 {
            return Err(NutError::Malformed("too many time bases or none"));
        }
        self.time_bases.clear();
        for _ in 0..count {
            let base = (varint(body)?, varint(body)?);
            if base.0 == 0 || base.1 == 0 || base.0 > u64::from(u32::MAX) || base.1 > u64::from(u32::MAX) {
                return Err(NutError::Malformed("a time base that makes no time"));
            }
            self.time_bases.push(base);
        }
        self.frame_codes(body)?;
        Ok(())
    }

    /// The run-length coded table that says what each first byte of a frame means.
    fn frame_codes(&mut self, body: &mut &[u8]) -> Result<(), NutError> {
        let mut run = FrameCode {
            size_mul: 1,
            ..FrameCode::default()
        };
        let mut index = 0;
        while index < 256 {
            run.flags = varint(body)?;
            let fields = varint(body)?;
            if fields > 0 {
                run.pts_delta = signed(body)?;
            }
            if fields > 1 {
                run.size_mul = varint(body)?;
            }
            if fields > 2 {
                run.stream = varint(body)?;
            }
            run.size_lsb = if fields > 3 { varint(body)? } else { 0 };
            run.reserved = if fields > 4 { varint(body)? } else { 0 };
            let count = match fields {
                6.. => varint(body)?,
                _ => run.size_mul.saturating_sub(run.size_lsb),
            };
            if fields > 6 {
                signed(body)?; // The match time.
            }
            if fields > 7 {
                varint(body)?; // The elision header, which only side data of other codecs uses.
            }
            for _ in 8..fields.min(64) {
                varint(body)?;
            }
            if count == 0 || fields > 64 {
                return Err(NutError::Malformed("a table of frame codes without an end"));
            }
            let mut done = 0;
            while done < count && index < 256 {
                if index == usize::from(b'N') {
                    self.codes[index].flags = INVALID; // `N` begins a start code.
                } else {
                    self.codes[index] = run;
                    self.codes[index].size_lsb = run.size_lsb.saturating_add(done);
                    done += 1;
                }
                index += 1;
            }
        }
        Ok(())
    }

    fn stream_header(&mut self, body: &mut &[u8]) -> Result<(), NutError> {
        if varint(body)? != 0 || varint(body)? != 0 {
            return Err(NutError::Malformed("the stream is not the first one, or no video"));
        }
        let fourcc = bytes(body)?;
        if fourcc != b"RGB\x18" {
            return Err(NutError::Malformed("the pictures are not 24-bit RGB"));
        }
        let base = usize::try_from(varint(body)?).unwrap_or(usize::MAX);
        let time_base = *self
            .time_bases
            .get(base)
            .ok_or(NutError::Malformed("a stream without a time base"))?;
        let msb_shift = u32::try_from(varint(body)?)
            .ok()
            .filter(|shift| *shift < 16)
            .ok_or(NutError::Malformed("times that are cut too long"))?;
        varint(body)?; // The longest step between times.
        varint(body)?; // The delay of decoding.
        varint(body)?; // The stream's flags.
        bytes(body)?; // What belongs to the codec.
        let (width, height) = (varint(body)?, varint(body)?);
        if !(1..=MAX_SIDE_PX).contains(&width) || !(1..=MAX_SIDE_PX).contains(&height) {
            return Err(NutError::Malformed("a picture size that is not taken"));
        }
        let side = |value| u32::try_from(value).map_err(|_| NutError::Malformed("a picture size that is not taken"));
        let shape = Shape {
            width: side(width)?,
            height: side(height)?,
        };
        if height <= u64::from(self.foot_rows) {
            return Err(NutError::Malformed("a picture of nothing but its foot"));
        }
        match &mut self.stream {
            // FFmpeg repeats its headers now and then.
            Some(stream) if stream.shape != shape => {
                return Err(NutError::Malformed("the size changed within the stream"));
            }
            Some(stream) => stream.time_base = time_base,
            None => {
                self.stream = Some(Stream {
                    shape,
                    time_base,
                    msb_shift,
                    last_pts: 0,
                });
            }
        }
        Ok(())
    }

    fn syncpoint(&mut self, body: &mut &[u8]) -> Result<(), NutError> {
        let coded = varint(body)?;
        let bases = self.time_bases.len() as u64;
        if bases == 0 {
            return Err(NutError::Malformed("a sync point before the main header"));
        }
        let from = self.time_bases[usize::try_from(coded % bases).unwrap_or(0)];
        if let Some(stream) = &mut self.stream {
            let ticks = u128::from(coded / bases) * u128::from(from.0) * u128::from(stream.time_base.1)
                / (u128::from(from.1) * u128::from(stream.time_base.0));
            stream.last_pts = i64::try_from(ticks).map_err(|_| NutError::Malformed("a sync point out of all time"))?;
        }
        Ok(())
    }

    fn frame(&mut self, code: u8, pixels: &mut [u8]) -> Result<f64, NutError> {
        let code = self.codes[usize::from(code)];
        let input = &mut self.input;
        let mut flags = code.flags;
        if flags & INVALID != 0 {
            return Err(NutError::Malformed("a frame code that is not used"));
        }
        if flags & CODED != 0 {
            flags ^= varint(input)?;
        }
        let stream_id = if flags & STREAM_ID != 0 {
            varint(input)?
        } else {
            code.stream
        };
        let coded_pts = if flags & CODED_PTS != 0 {
            Some(varint(input)?)
        } else {
            None
        };
        let size_msb = if flags & SIZE_MSB != 0 { varint(input)? } else { 0 };
        if flags & MATCH_TIME != 0 {
            signed(input)?;
        }
        if flags & HEADER_IDX != 0 {
            varint(input)?;
        }
        let reserved = if flags & RESERVED != 0 {
            varint(input)?
        } else {
            code.reserved
        };
        if reserved > 64 {
            return Err(NutError::Malformed("too many reserved fields"));
        }
        for _ in 0..reserved {
            varint(input)?;
        }
        if flags & CHECKSUM != 0 {
            fixed::<4>(input)?; // A pipe doesn't flip bits.
        }
        let size = size_msb
            .checked_mul(code.size_mul)
            .and_then(|msb| msb.checked_add(code.size_lsb))
            .ok_or(NutError::Malformed("a picture larger than any number"))?;
        let stream = match &mut self.stream {
            Some(stream) if stream_id == 0 => stream,
            _ => return Err(NutError::Malformed("a frame of a stream that isn't there")),
        };
        let expected = stream.shape.bytes() as u64;
        let foot = u64::from(stream.shape.width) * u64::from(self.foot_rows) * 3;
        if size != expected || pixels.len() as u64 + foot != expected || flags & SIDE_DATA != 0 {
            return Err(NutError::SizeChanged { expected, got: size });
        }
        stream.last_pts = match coded_pts {
            Some(coded) => full_pts(stream, coded)?,
            None => stream.last_pts.saturating_add(code.pts_delta),
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds as f64 are exact to far below a millisecond"
        )]
        let seconds = stream.last_pts as f64 * stream.time_base.0 as f64 / stream.time_base.1 as f64;
        self.input.read_exact(pixels)?;
        if io::copy(&mut (&mut self.input).take(foot), &mut io::sink())? != foot {
            return Err(NutError::Pipe(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(seconds)
    }
}

/// A time from its lower bits, the nearest to the last one, or from all of its bits.
fn full_pts(stream: &Stream, coded: u64) -> Result<i64, NutError> {
    let range = 1_u64 << stream.msb_shift;
    let out = NutError::Malformed("a time out of all time");
    if coded >= range {
        return i64::try_from(coded - range).map_err(|_| out);
    }
    let mask = i64::try_from(range - 1).map_err(|_| NutError::Malformed("times that are cut too long"))?;
    let coded = i64::try_from(coded).map_err(|_| out)?;
    let delta = stream.last_pts.saturating_sub(mask / 2);
    Ok((coded.wrapping_sub(delta) & mask).saturating_add(delta))
}

#[cfg(test)]
#[path = "nut_tests.rs"]
mod tests;
