//! Inference by the host's models (wasi-nn, `wasi_ephemeral_nn`).
//!
//! ```no_run
//! # fn main() -> guesthouse_dapr::Result<()> {
//! use guesthouse_dapr::nn;
//!
//! let pixels = vec![0.0_f32; 96 * 96 * 3];
//! let scores: Vec<f32> = nn::model("person")?.input(0, &[1, 96, 96, 3], &pixels)?.compute()?.output(0)?;
//! # Ok(())
//! # }
//! ```

use crate::{sys, Error, Result};

const TOO_LARGE: u32 = 7; // the buffer is too small, and the output's size is told

/// A model that the manifest grants to the guest, ready for its inputs.
pub fn model(name: &str) -> Result<Model> {
    let graph = sys::nn_load(name).map_err(|error| failed(format_args!("load_by_name of '{name}'"), error))?;
    let context = sys::nn_context(graph).map_err(|error| failed(format_args!("init_execution_context"), error))?;
    Ok(Model { context })
}

/// See [`model`].
#[derive(Debug)]
pub struct Model {
    context: u32,
}

impl Model {
    /// Gives the model its input at that position. All dimensions are said; the host copies the numbers.
    pub fn input<T: Number>(self, index: u32, shape: &[u32], data: &[T]) -> Result<Self> {
        let set = sys::nn_set_input(self.context, index, T::KIND, shape, bytes_of(data));
        set.map_err(|error| failed(format_args!("set_input of {index}"), error))?;
        Ok(self)
    }

    /// Runs it.
    pub fn compute(self) -> Result<Computed> {
        sys::nn_compute(self.context).map_err(|error| failed(format_args!("compute"), error))?;
        Ok(Computed { context: self.context })
    }
}

/// A model that was run.
#[derive(Debug)]
pub struct Computed {
    context: u32,
}

impl Computed {
    /// The output at that position, as numbers of its type.
    pub fn output<T: Number>(&self, index: u32) -> Result<Vec<T>> {
        let (error, size) = sys::nn_output(self.context, index, &mut []);
        if error != 0 && error != TOO_LARGE {
            return Err(failed(format_args!("get_output of {index}"), error));
        }
        let mut bytes = vec![0; size];
        let (error, written) = sys::nn_output(self.context, index, &mut bytes);
        if error != 0 || written != size {
            return Err(failed(format_args!("get_output of {index}"), error));
        }
        Ok(bytes.chunks_exact(size_of::<T>()).map(T::from_le).collect())
    }
}

fn failed(what: std::fmt::Arguments<'_>, error: u32) -> Error {
    let meaning = match error {
        1 => "invalid argument",
        2 => "invalid encoding",
        4 => "busy",
        5 => "the model did not run",
        6 => "unsupported",
        7 => "too large",
        8 => "not found, or not granted to this guest",
        _ => "unknown",
    };
    Error::failed(format!("wasi-nn: {what}: {meaning} (error {error}); the guest's log says more"))
}

/// The numbers of tensors.
pub trait Number: Copy + number::Plain {
    /// wasi-nn's number of the type.
    const KIND: u8;

    /// The number that these bytes are; there are exactly as many as it has.
    fn from_le(bytes: &[u8]) -> Self;
}

mod number {
    /// Types without padding, all of whose bytes may be looked at. No other crate can add to them.
    pub trait Plain {}
}

macro_rules! numbers {
    ($($kind:ty = $number:literal),*) => {$(
        impl number::Plain for $kind {}

        impl Number for $kind {
            const KIND: u8 = $number;

            fn from_le(bytes: &[u8]) -> Self {
                let mut array = [0; size_of::<$kind>()];
                array.copy_from_slice(bytes);
                Self::from_le_bytes(array)
            }
        }
    )*};
}

numbers!(f32 = 1, f64 = 2, u8 = 3, i32 = 4, i64 = 5);

/// wasm32 is little-endian, as tensors are.
#[cfg(target_endian = "little")]
fn bytes_of<T: Number>(data: &[T]) -> &[u8] {
    // SAFETY: `Plain` types have no padding, and u8 has no alignment.
    unsafe { std::slice::from_raw_parts(data.as_ptr().cast(), size_of_val(data)) }
}
