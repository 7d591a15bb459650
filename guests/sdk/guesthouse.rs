//! How a function says why it fails. Copy this file into your crate's `src` and write `mod guesthouse;`: it needs
//! nothing but the standard library. `guesthouse.h` has the same for C; a program says it with exit code 65 or 75.
//!
//!     use guesthouse::malformed;
//!
//!     #[wasmedge_bindgen]
//!     pub fn count(text: Vec<u8>) -> Result<String, String> {
//!         let text = String::from_utf8(text).map_err(|error| malformed(format!("the body is not text: {error}")))?;
//!         Ok(text.split_whitespace().count().to_string())
//!     }
//!
//! Any other text of an error says no more than that the function failed.

#![allow(dead_code)] // a guest may need only one of them

/// The error of a function that finds the event itself at fault: the event is not sent again, and an HTTP caller
/// gets 400.
pub fn malformed(reason: impl AsRef<str>) -> String {
    format!("guesthouse:malformed: {}", reason.as_ref())
}

/// The error of a function that may succeed later: the event is sent again, where its trigger does that.
pub fn try_again(reason: impl AsRef<str>) -> String {
    format!("guesthouse:try-again: {}", reason.as_ref())
}
