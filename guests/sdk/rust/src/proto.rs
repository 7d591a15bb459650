//! Protobuf's wire format, as much as Dapr's messages need: a writer and a reader.
//!
//! The clients of this crate use it. You need it for a method that has no client here, and for its answer:
//!
//! ```
//! use guesthouse_dapr::proto::{fields, Writer};
//!
//! let request = Writer::new().text(1, "statestore").text(2, r#"{"filter": {}}"#).done();
//! let read: Vec<_> = fields(&request).map(|field| field.unwrap().number).collect();
//! assert_eq!(read, [1, 2]);
//! ```
//!
//! Other crates for protobuf (prost, say) work as well: a message is bytes.

use std::fmt;

/// Writes one message, field by field. What is written is never left out, also not zeros and empty texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// A message that others have written. More fields can be appended.
    pub fn from_bytes(message: Vec<u8>) -> Self {
        Self(message)
    }

    /// The message's bytes.
    pub fn done(self) -> Vec<u8> {
        self.0
    }

    /// A field of text: `string`.
    pub fn text(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    /// A field of bytes: `bytes`.
    pub fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    /// A field with a number: `int32`, `int64`, `uint32`, `uint64`, `bool`, an enumeration. Not `sint32`, not `fixed32`.
    pub fn number(mut self, field: u32, value: i64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(value as u64);
        self
    }

    /// A field that is a message.
    pub fn message(self, field: u32, value: Writer) -> Self {
        self.bytes(field, &value.0)
    }

    /// One entry of a field `map<string, string>`.
    pub fn entry(self, field: u32, name: &str, value: &str) -> Self {
        self.message(field, Writer::new().text(1, name).text(2, value))
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// What was read is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a protobuf message")
    }
}

impl std::error::Error for Malformed {}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number.
    pub number: u32,
    /// Its value.
    pub value: Value<'a>,
}

/// A value as the wire has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A varint: whole numbers, enumerations, `bool`.
    Number(u64),
    /// Text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// Eight bytes: `fixed64`, `double`.
    Fixed64(u64),
    /// Four bytes: `fixed32`, `float`.
    Fixed32(u32),
}

impl<'a> Field<'a> {
    /// The value's bytes; of another kind of value, an error.
    pub fn bytes(&self) -> Result<&'a [u8], Malformed> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed),
        }
    }

    /// The value as text. What is not UTF-8 is an error.
    pub fn text(&self) -> Result<String, Malformed> {
        Ok(std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)?.to_owned())
    }

    /// The value as a number; of another kind of value, an error.
    pub fn number(&self) -> Result<u64, Malformed> {
        match self.value {
            Value::Number(number) => Ok(number),
            _ => Err(Malformed),
        }
    }

    /// The value as an entry of a `map<string, string>`.
    pub fn entry(&self) -> Result<(String, String), Malformed> {
        let (name, value) = self.entry_of()?;
        Ok((name, std::str::from_utf8(value).map_err(|_| Malformed)?.to_owned()))
    }

    /// The value as an entry of a map from text to messages.
    pub fn entry_of(&self) -> Result<(String, &'a [u8]), Malformed> {
        let (mut name, mut value) = (String::new(), &b""[..]);
        for field in fields(self.bytes()?) {
            let field = field?;
            match field.number {
                1 => name = field.text()?,
                2 => value = field.bytes()?,
                _ => {}
            }
        }
        Ok((name, value))
    }
}

/// The fields of a message, in the order in which they stand there. After an error there are no more.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

/// See [`fields`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let found = self.field();
        if found.is_none() {
            self.rest = b"";
        }
        Some(found.ok_or(Malformed))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<Field<'a>> {
        let tag = u32::try_from(self.varint()?).ok()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        let number = tag >> 3;
        (number > 0).then_some(Field { number, value })
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for (position, &byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f).checked_shl(7 * position as u32)?;
            if byte < 0x80 {
                self.rest = &self.rest[position + 1..];
                return (position < 9 || byte < 2).then_some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_as_protobuf_has_them() {
        // The first two are examples of protobuf's own page on its encoding.
        assert_eq!(Writer::new().number(1, 150).done(), b"\x08\x96\x01");
        assert_eq!(Writer::new().text(2, "testing").done(), b"\x12\x07testing");
        assert_eq!(Writer::new().number(1, -1).done(), b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
        assert_eq!(Writer::new().text(16, "").done(), b"\x82\x01\x00");
        assert_eq!(Writer::new().entry(4, "a", "b").done(), b"\x22\x06\x0a\x01a\x12\x01b");
        let long = Writer::new().bytes(1, &[7; 300]).done();
        assert_eq!(&long[..3], b"\x0a\xac\x02");
        assert_eq!(long.len(), 303);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let message =
            Writer::new().text(1, "ä").number(2, i64::MIN).message(3, Writer::new().entry(4, "k", "v")).done();
        let read: Vec<_> = fields(&message).map(Result::unwrap).collect();
        assert_eq!(read[0].text().unwrap(), "ä");
        assert_eq!(read[1].number().unwrap() as i64, i64::MIN);
        let inner: Vec<_> = fields(read[2].bytes().unwrap()).map(Result::unwrap).collect();
        assert_eq!(inner[0].entry().unwrap(), ("k".into(), "v".into()));
    }

    #[test]
    fn values_of_other_kinds_are_passed_over() {
        let fixed = fields(b"\x09\x01\0\0\0\0\0\0\0\x15\x02\0\0\0").map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(fixed[0].value, Value::Fixed64(1));
        assert_eq!(fixed[1].value, Value::Fixed32(2));
        assert_eq!(fixed[0].number(), Err(Malformed));
        assert_eq!(fixed[0].bytes(), Err(Malformed));
    }

    #[test]
    fn what_is_no_message_is_an_error_and_the_end() {
        for broken in [
            &b"\x00\x01"[..],                                    // field 0
            b"\x0a\x05abc",                                      // more bytes are promised than there are
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",     // a length of 2^64 - 1
            b"\x0b",                                             // a group
            b"\x08",                                             // no value
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", // a varint of eleven bytes
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",     // a varint of 65 bits
            b"\x80\x80\x80\x80\x80\x80\x01\x00",                 // a tag of more than 32 bits
            b"\x0d\0\0\0",                                       // three bytes where four belong
        ] {
            let read: Vec<_> = fields(broken).collect();
            assert_eq!(read, [Err(Malformed)], "{broken:x?}");
        }
    }

    #[test]
    fn no_bytes_make_the_reader_fail_in_another_way() {
        // A small generator of its own: xorshift.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for length in 0..400 {
            let bytes: Vec<u8> = (0..length % 40)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state as u8
                })
                .collect();
            let read: Vec<_> = fields(&bytes).collect();
            assert!(read.len() <= bytes.len());
            for field in read.iter().flatten() {
                let _ = (field.text(), field.entry(), field.number());
            }
        }
    }
}
