//! The hash slot of a key: CRC16 of its hash tag, or of the whole key, modulo 16384.
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model>

/// A hash slot. Always below [`HashSlot::COUNT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashSlot(u16);

impl HashSlot {
    /// The number of hash slots.
    pub const COUNT: usize = 16_384;

    /// Returns the slot of a key.
    pub fn of(key: &[u8]) -> Self {
        Self(crc16(tag(key)) & Self::MASK)
    }

    /// Parses a number from a server, if there is such a slot.
    pub fn new(number: u64) -> Option<Self> {
        u16::try_from(number).ok().filter(|number| *number <= Self::MASK).map(Self)
    }

    /// Returns the index in a table of all slots.
    pub fn index(self) -> usize {
        self.0.into()
    }

    /// `COUNT` is a power of two.
    const MASK: u16 = 0x3fff;
}

const _: () = assert!(HashSlot::MASK as usize + 1 == HashSlot::COUNT);

/// Returns the text between the first `{` and the next `}`, unless it is empty, or the whole key:
/// keys with one tag share a slot.
fn tag(key: &[u8]) -> &[u8] {
    let inside = || {
        let open = key.iter().position(|byte| *byte == b'{')?;
        let behind = key.get(open + 1..)?;
        let close = behind.iter().position(|byte| *byte == b'}')?;
        behind.get(..close).filter(|tag| !tag.is_empty())
    };
    inside().unwrap_or(key)
}

/// CRC-16/XMODEM: polynomial 0x1021, initial value zero, not reflected.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let [high, _] = crc.to_be_bytes();
        let change = TABLE.get(usize::from(high ^ byte)).copied().unwrap_or_default();
        (crc << 8) ^ change
    })
}

/// The CRC of each byte.
const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut rest: &mut [u16] = &mut table;
    let mut byte: u16 = 0;
    while let Some((entry, after)) = rest.split_first_mut() {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        *entry = crc;
        rest = after;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_published_check_values() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc16(b""), 0);
    }

    #[test]
    fn slots_as_a_server_computes_them() {
        // CLUSTER KEYSLOT of Redis 7.
        for (key, slot) in [
            (&b""[..], 0),
            (b"foo", 12182),
            (b"bar", 5061),
            (b"hello", 866),
            (b"{user1000}.following", 3443),
            (b"user1000", 3443),
            (b"{user1000}.followers", 3443),
            (b"foo{}{bar}", 8363),
            (b"foo{{bar}}zap", 4015),
            (b"{bar", 4015),
            (b"foo{bar}{zap}", 5061),
        ] {
            assert_eq!(HashSlot::of(key), HashSlot(slot), "{}", key.escape_ascii());
        }
    }

    #[test]
    fn slot_numbers_are_bounded() {
        assert_eq!(HashSlot::new(16_383).map(HashSlot::index), Some(16_383));
        assert_eq!((HashSlot::new(16_384), HashSlot::new(u64::MAX)), (None, None));
    }

    /// Bit by bit, as in the specification.
    fn crc16_by_bits(bytes: &[u8]) -> u16 {
        bytes.iter().fold(0, |crc: u16, byte| {
            (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            })
        })
    }

    proptest! {
        #[test]
        fn the_table_is_the_polynomial(bytes: Vec<u8>) {
            prop_assert_eq!(crc16(&bytes), crc16_by_bits(&bytes));
        }

        #[test]
        fn one_tag_one_slot(tag in "[^{}]{1,8}", before in "[^{}]{0,8}", after in ".{0,8}") {
            let key = format!("{before}{{{tag}}}{after}");
            prop_assert_eq!(HashSlot::of(key.as_bytes()), HashSlot::of(tag.as_bytes()));
        }

        #[test]
        fn without_a_tag_the_whole_key_counts(key in "[^{]{0,16}") {
            prop_assert_eq!(HashSlot::of(key.as_bytes()).index(), usize::from(crc16_by_bits(key.as_bytes())) % HashSlot::COUNT);
        }
    }
}
