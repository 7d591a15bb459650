//! Names with values as the ABI has them: `u32 name_length, u32 value_length, name, value`, one after the other.

/// Appends one pair.
pub(crate) fn push(list: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    list.extend((name.len() as u32).to_le_bytes());
    list.extend((value.len() as u32).to_le_bytes());
    list.extend(name);
    list.extend(value);
}

/// The pairs of a list, up to the first that is not whole.
pub(crate) fn read(mut list: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((name, value, rest)) = split(list) {
        found.push((String::from_utf8_lossy(name).into_owned(), value.to_vec()));
        list = rest;
    }
    found
}

fn split(list: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name_length, rest) = number(list)?;
    let (value_length, rest) = number(rest)?;
    let (name, rest) = rest.split_at_checked(name_length)?;
    let (value, rest) = rest.split_at_checked(value_length)?;
    Some((name, value, rest))
}

fn number(list: &[u8]) -> Option<(usize, &[u8])> {
    let (bytes, rest) = list.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*bytes) as usize, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_read_again() {
        let mut list = Vec::new();
        push(&mut list, b"a", b"");
        push(&mut list, b"", b"\xff");
        assert_eq!(read(&list), [("a".into(), vec![]), ("".into(), vec![255])]);
    }

    #[test]
    fn a_pair_that_is_not_whole_ends_the_list() {
        let mut list = Vec::new();
        push(&mut list, b"a", b"1");
        for broken in [&b"\0"[..], b"\xff\xff\xff\xff\0\0\0\0", b"\x01\0\0\0\x02\0\0\0ab"] {
            let longer = [&list[..], broken].concat();
            assert_eq!(read(&longer), [("a".into(), vec![b'1'])]);
        }
    }
}
