//! Functions of no, one and several values, as guests of WasmEdge's own hosts have them. Here they are called with
//! `values = "json"`: the body is an array with an element for each parameter, the reply one with an element for each
//! result.

use wasmedge_bindgen as _; // exports allocate and deallocate
use wasmedge_bindgen_macro::wasmedge_bindgen;

#[path = "../../sdk/guesthouse.rs"]
mod guesthouse;
use guesthouse::{malformed, try_again};

#[wasmedge_bindgen]
pub fn version() -> String {
    "values 1".into()
}

#[wasmedge_bindgen]
pub fn nothing() {}

#[wasmedge_bindgen]
pub fn join(first: String, second: String, third: String) -> String {
    format!("{first}, {second} and {third}")
}

#[wasmedge_bindgen]
pub fn divide(number: i32, by: i32) -> Result<(i32, i32), String> {
    match (number.checked_div(by), number.checked_rem(by)) {
        (Some(quotient), Some(rest)) => Ok((quotient, rest)),
        _ => Err(malformed(format!("{number} cannot be divided by {by}"))),
    }
}

/// Answers once `left` is nothing, and asks for the event again until then.
#[wasmedge_bindgen]
pub fn countdown(left: u8) -> Result<String, String> {
    match left {
        0 => Ok("now".into()),
        _ => Err(try_again(format!("{left} to go"))),
    }
}

#[wasmedge_bindgen]
pub fn whole(a: u8, b: i8, c: u16, d: i16, e: u32, f: i32, g: u64, h: i64) -> (u8, i8, u16, i16, u32, i32, u64, i64) {
    (a, b, c, d, e, f, g, h)
}

#[wasmedge_bindgen]
pub fn mixed(large: f64, small: f32, letter: char, yes: bool) -> (f64, f32, String) {
    (large, small, format!("{letter} {yes}"))
}

#[wasmedge_bindgen]
pub fn lists(a: Vec<u8>, b: Vec<i8>, c: Vec<u16>, d: Vec<i32>, e: Vec<u64>) -> (Vec<u8>, Vec<i8>, Vec<u16>, Vec<i32>, Vec<u64>) {
    (a, b, c, d, e)
}
