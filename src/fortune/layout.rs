//! The file format of strfile(1)'s indexes: a header, the offset of each text, and the offset of the end of the last one.
//!
//! The header has five numbers (version, texts, longest, shortest, flags) and the delimiter. Systems use different layouts, which
//! no field identifies. But the version, and the size computed from the number of texts, match only one layout.

/// The maximum size of a header in bytes.
pub(super) const LONGEST_HEADER: usize = 48;

/// `strfile -r`: in random order.
pub(crate) const RANDOM: u32 = 0x1;
/// `strfile -o`: in alphabetical order.
pub(crate) const ORDERED: u32 = 0x2;
/// `strfile -x`: the texts are in rot13.
pub(crate) const ROTATED: u32 = 0x4;
/// BSD's `strfile -C`: lines that begin with two delimiters are comments.
pub(crate) const COMMENTS: u32 = 0x8;

/// The version that Debian's strfile writes.
const VERSION: u32 = 2;

/// The encoding of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Big32,
    Big64,
    Little32,
    Little64,
    /// `htonl` in an `unsigned long` of a little-endian 64-bit machine: four big-endian bytes, then four zeros.
    BigInLong,
}

impl Number {
    const fn width(self) -> u64 {
        match self {
            Self::Big32 | Self::Little32 => 4,
            Self::Big64 | Self::Little64 | Self::BigInLong => 8,
        }
    }

    /// The number in the first bytes; `None` if there are too few, or if the padding is not zero.
    fn read(self, octets: &[u8]) -> Option<u64> {
        match self {
            Self::Big32 => octets.first_chunk().map(|&octets| u32::from_be_bytes(octets).into()),
            Self::Little32 => octets.first_chunk().map(|&octets| u32::from_le_bytes(octets).into()),
            Self::Big64 => octets.first_chunk().map(|&octets| u64::from_be_bytes(octets)),
            Self::Little64 => octets.first_chunk().map(|&octets| u64::from_le_bytes(octets)),
            Self::BigInLong => {
                octets.get(4..8).filter(|padding| *padding == [0; 4]).and_then(|_| Self::Big32.read(octets))
            }
        }
    }
}

/// A layout of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    header: Number,
    offsets: Number,
}

const LAYOUTS: [Layout; 7] = [
    // fortune-mod on Debian and most Linux distributions; OpenBSD.
    Layout { header: Number::Big32, offsets: Number::Big32 },
    // FreeBSD and NetBSD, whose offsets are `off_t`.
    Layout { header: Number::Big32, offsets: Number::Big64 },
    // `unsigned long` builds on 64-bit machines, little-endian and big-endian.
    Layout { header: Number::BigInLong, offsets: Number::BigInLong },
    Layout { header: Number::Big64, offsets: Number::Big64 },
    // Builds without network byte order.
    Layout { header: Number::Little32, offsets: Number::Little32 },
    Layout { header: Number::Little32, offsets: Number::Little64 },
    Layout { header: Number::Little64, offsets: Number::Little64 },
];

impl Layout {
    /// Five numbers and four bytes for the delimiter, padded to the alignment of `unsigned long`.
    const fn header_size(self) -> u64 {
        6 * self.header.width()
    }
}

/// Why a file is not a valid index.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// It has an unknown version; this is the number in the most common layout.
    Version(u64),
    /// It is shorter than its header says.
    Cut,
    /// It is longer than its header says, or its numbers contradict each other.
    Contradictory,
}

/// An index's header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The number of texts.
    pub(super) texts: u32,
    /// The length of the longest text in octets.
    pub(super) longest: u64,
    /// The flags.
    pub(super) flags: u32,
    /// The character that stands alone on the lines between texts.
    pub(super) delimiter: u8,
    layout: Layout,
}

impl Header {
    /// Reads the header from the first bytes of an index of `size` bytes. If the header is valid but does not match the size,
    /// that is returned with it: only the offsets of such an index may be wrong.
    pub(super) fn parse(octets: &[u8], size: u64) -> Result<(Self, Option<Misfit>), Misfit> {
        let (mut doubtful, mut misfit) = (None, None);
        for layout in LAYOUTS {
            match Self::parse_as(layout, octets) {
                Ok(header) => match header.misfit(size) {
                    None => return Ok((header, None)),
                    // The most common layouts come first; report the mistake for the first that matches.
                    Some(misfit) => _ = doubtful.get_or_insert((header, Some(misfit))),
                },
                Err(why) if !matches!(why, Misfit::Version(_)) => _ = misfit.get_or_insert(why),
                Err(_) => {}
            }
        }
        if let Some(doubtful) = doubtful {
            return Ok(doubtful);
        }
        let version = Number::Big32.read(octets).map(Misfit::Version);
        Err(misfit.or(version).filter(|_| octets.len() >= 24).unwrap_or(Misfit::Cut))
    }

    fn parse_as(layout: Layout, octets: &[u8]) -> Result<Self, Misfit> {
        let mut fields = octets.chunks(if layout.header.width() == 4 { 4 } else { 8 });
        let mut field = || fields.next().and_then(|octets| layout.header.read(octets));
        match field() {
            Some(1 | 2) => {}
            other => return Err(Misfit::Version(other.unwrap_or_default())),
        }
        let (Some(texts), Some(longest), Some(shortest), Some(flags)) = (field(), field(), field(), field()) else {
            return Err(Misfit::Cut);
        };
        let &[delimiter, ..] = fields.next().unwrap_or_default() else { return Err(Misfit::Cut) };
        let texts = u32::try_from(texts).map_err(|_| Misfit::Contradictory)?;
        let flags = u32::try_from(flags).map_err(|_| Misfit::Contradictory)?;
        let known = flags & !(RANDOM | ORDERED | ROTATED | COMMENTS) == 0;
        let line = !delimiter.is_ascii() || matches!(delimiter, b'\0' | b'\n' | b'\r');
        if !known || line || (texts > 0 && shortest > longest) {
            return Err(Misfit::Contradictory);
        }
        Ok(Self { texts, longest, flags, delimiter, layout })
    }

    /// What is wrong with an index with this header and size.
    fn misfit(&self, size: u64) -> Option<Misfit> {
        let table = (u64::from(self.texts) + 1).checked_mul(self.layout.offsets.width());
        match table.and_then(|table| table.checked_add(self.layout.header_size())) {
            Some(declared) if declared == size => None,
            Some(declared) if declared < size => Some(Misfit::Contradictory),
            _ => Some(Misfit::Cut),
        }
    }

    /// The header of an index in memory, whose offsets were found by a scan of the cookie file.
    pub(super) fn scanned(texts: u32, flags: u32, delimiter: u8) -> Self {
        Self { texts, longest: 0, flags, delimiter, layout: LAYOUTS[0] }
    }

    /// The position of the `number`-th offset, and its width in bytes.
    pub(super) fn place(&self, number: u32) -> (u64, usize) {
        let width = self.layout.offsets.width();
        (self.layout.header_size() + u64::from(number) * width, if width == 4 { 4 } else { 8 })
    }

    /// Decodes an offset.
    pub(super) fn offset(&self, octets: &[u8]) -> Option<u64> {
        self.layout.offsets.read(octets)
    }
}

/// The header that Debian's and BSD's strfile write.
pub(crate) fn header(texts: u32, longest: u32, shortest: u32, flags: u32, delimiter: u8) -> Vec<u8> {
    let mut octets: Vec<u8> =
        [VERSION, texts, longest, shortest, flags].iter().flat_map(|number| number.to_be_bytes()).collect();
    octets.extend([delimiter, 0, 0, 0]);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index of three texts in one of the layouts.
    fn example(layout: Layout) -> Vec<u8> {
        let write = |how: Number, number: u32| match how {
            Number::Big32 => number.to_be_bytes().to_vec(),
            Number::Little32 => number.to_le_bytes().to_vec(),
            Number::Big64 => u64::from(number).to_be_bytes().to_vec(),
            Number::Little64 => u64::from(number).to_le_bytes().to_vec(),
            Number::BigInLong => [number.to_be_bytes(), [0; 4]].concat(),
        };
        let mut octets: Vec<u8> = [1, 3, 20, 10, 4].iter().flat_map(|&field| write(layout.header, field)).collect();
        octets.push(b'%');
        octets.resize(usize::try_from(layout.header_size()).expect("small"), 0);
        octets.extend([0, 12, 30, 52].iter().flat_map(|&offset| write(layout.offsets, offset)));
        octets
    }

    #[test]
    fn every_layout_is_told_from_the_others() {
        for layout in LAYOUTS {
            let octets = example(layout);
            let header = Header::parse(&octets[..octets.len().min(LONGEST_HEADER)], octets.len() as u64);
            let (header, doubt) = header.unwrap_or_else(|misfit| panic!("{layout:?}: {misfit:?}"));
            assert_eq!(doubt, None, "{layout:?}");
            assert_eq!((header.texts, header.longest, header.flags, header.delimiter), (3, 20, ROTATED, b'%'));
            assert_eq!(header.layout, layout);
            let (place, width) = header.place(2);
            let place = usize::try_from(place).expect("small");
            assert_eq!(header.offset(&octets[place..place + width]), Some(30));
        }
    }

    #[test]
    fn one_octet_more_or_less_fits_no_layout_and_changes_nothing_that_the_header_says() {
        for layout in LAYOUTS {
            let mut octets = example(layout);
            let size = octets.len() as u64;
            octets.truncate(LONGEST_HEADER);
            for size in [size - 1, size + 1] {
                let (header, doubt) = Header::parse(&octets, size).expect("a header");
                assert!(doubt.is_some(), "{layout:?}");
                assert_eq!((header.flags, header.delimiter), (ROTATED, b'%'), "{layout:?}");
            }
        }
    }

    #[test]
    fn no_header_makes_the_arithmetic_fail() {
        for fill in 0..=255 {
            for version in [[0, 0, 0, 2], [2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 3]] {
                let mut octets = [fill; LONGEST_HEADER];
                octets[..4].copy_from_slice(&version);
                for length in 0..=LONGEST_HEADER {
                    assert!(Header::parse(&octets[..length], length as u64).is_err(), "{fill} {length}");
                }
                assert!(Header::parse(&octets, u64::MAX).is_err());
            }
        }
    }
}
