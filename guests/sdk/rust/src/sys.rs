//! The host's functions, one by one, with slices for their ranges of memory. On wasm32 they are imports; anywhere else
//! `mock` answers them. What they mean is in the ABI's specification.

#[cfg(target_arch = "wasm32")]
pub(crate) use imports::*;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::mock::host::*;

pub(crate) const LIMIT: i32 = -4;
pub(crate) const PENDING: i32 = -5;
pub(crate) const UNSUPPORTED: i32 = -6;

const FIRST: usize = 512; // bytes that are read before the size is known: one call for most things

/// All that a function of the kind "reading" gives; its number where that is below 0.
pub(crate) fn read_all(read: &dyn Fn(u32, &mut [u8]) -> i32) -> Result<Vec<u8>, i32> {
    let mut data = vec![0; FIRST];
    let size = read(0, &mut data);
    let size = usize::try_from(size).map_err(|_| size)?;
    data.resize(size, 0);
    if size > FIRST {
        read(FIRST as u32, &mut data[FIRST..]);
    }
    Ok(data)
}

#[cfg(target_arch = "wasm32")]
mod imports {
    mod dapr {
        #[link(wasm_import_module = "dapr_v1")]
        extern "C" {
            pub fn event_read(field: u32, offset: u32, buffer: *mut u8, capacity: usize) -> i32;
            pub fn event_metadata(
                name: *const u8,
                name_length: usize,
                offset: u32,
                buffer: *mut u8,
                capacity: usize,
            ) -> i32;
            pub fn event_metadata_all(offset: u32, buffer: *mut u8, capacity: usize) -> i32;
            pub fn reply_write(data: *const u8, length: usize) -> i32;
            pub fn reply_set(field: u32, text: *const u8, length: usize) -> i32;
            pub fn reply_status(status: u32) -> i32;
            pub fn reply_header(name: *const u8, name_length: usize, value: *const u8, value_length: usize) -> i32;
            pub fn retry_after(milliseconds: u32) -> i32;
            pub fn log(level: u32, text: *const u8, length: usize, fields: *const u8, fields_length: usize) -> i32;
            pub fn time_left() -> i64;
            pub fn config_read(
                name: *const u8,
                name_length: usize,
                offset: u32,
                buffer: *mut u8,
                capacity: usize,
            ) -> i32;
            pub fn call_start(
                method: *const u8,
                method_length: usize,
                request: *const u8,
                length: usize,
                metadata: *const u8,
                metadata_length: usize,
                milliseconds: u32,
            ) -> i32;
            pub fn call_wait(handles: *const u32, count: usize, mode: u32, milliseconds: u32) -> i32;
            pub fn call_status(handle: u32) -> i32;
            pub fn call_read(handle: u32, part: u32, offset: u32, buffer: *mut u8, capacity: usize) -> i32;
            pub fn call_close(handle: u32) -> i32;
        }
    }

    mod nn {
        #[repr(C)]
        pub struct Tensor {
            pub dimensions: *const u32,
            pub rank: usize,
            pub kind: u8,
            pub data: *const u8,
            pub size: usize,
        }

        #[link(wasm_import_module = "wasi_ephemeral_nn")]
        extern "C" {
            pub fn load_by_name(name: *const u8, size: usize, graph: *mut u32) -> u32;
            pub fn init_execution_context(graph: u32, context: *mut u32) -> u32;
            pub fn set_input(context: u32, index: u32, tensor: *const Tensor) -> u32;
            pub fn compute(context: u32) -> u32;
            pub fn get_output(context: u32, index: u32, buffer: *mut u8, size: usize, written: *mut u32) -> u32;
        }
    }

    mod image {
        #[link(wasm_import_module = "wasmedge_image")]
        extern "C" {
            pub fn load_image(
                picture: *const u8,
                picture_size: usize,
                width: u32,
                height: u32,
                kind: u32,
                buffer: *mut u8,
                buffer_size: usize,
            ) -> u32;
        }
    }

    pub fn event_read(field: u32, offset: u32, buffer: &mut [u8]) -> i32 {
        unsafe { dapr::event_read(field, offset, buffer.as_mut_ptr(), buffer.len()) }
    }

    pub fn event_metadata(name: &str, offset: u32, buffer: &mut [u8]) -> i32 {
        unsafe { dapr::event_metadata(name.as_ptr(), name.len(), offset, buffer.as_mut_ptr(), buffer.len()) }
    }

    pub fn event_metadata_all(offset: u32, buffer: &mut [u8]) -> i32 {
        unsafe { dapr::event_metadata_all(offset, buffer.as_mut_ptr(), buffer.len()) }
    }

    pub fn reply_write(data: &[u8]) -> i32 {
        unsafe { dapr::reply_write(data.as_ptr(), data.len()) }
    }

    pub fn reply_set(field: u32, text: &str) -> i32 {
        unsafe { dapr::reply_set(field, text.as_ptr(), text.len()) }
    }

    pub fn reply_status(status: u32) -> i32 {
        unsafe { dapr::reply_status(status) }
    }

    pub fn reply_header(name: &str, value: &str) -> i32 {
        unsafe { dapr::reply_header(name.as_ptr(), name.len(), value.as_ptr(), value.len()) }
    }

    pub fn retry_after(milliseconds: u32) -> i32 {
        unsafe { dapr::retry_after(milliseconds) }
    }

    pub fn log(level: u32, text: &str, fields: &[u8]) -> i32 {
        unsafe { dapr::log(level, text.as_ptr(), text.len(), fields.as_ptr(), fields.len()) }
    }

    pub fn time_left() -> i64 {
        unsafe { dapr::time_left() }
    }

    pub fn config_read(name: &str, offset: u32, buffer: &mut [u8]) -> i32 {
        unsafe { dapr::config_read(name.as_ptr(), name.len(), offset, buffer.as_mut_ptr(), buffer.len()) }
    }

    pub fn call_start(method: &str, request: &[u8], metadata: &[u8], milliseconds: u32) -> i32 {
        unsafe {
            dapr::call_start(
                method.as_ptr(),
                method.len(),
                request.as_ptr(),
                request.len(),
                metadata.as_ptr(),
                metadata.len(),
                milliseconds,
            )
        }
    }

    pub fn call_wait(handles: &[u32], mode: u32, milliseconds: u32) -> i32 {
        unsafe { dapr::call_wait(handles.as_ptr(), handles.len(), mode, milliseconds) }
    }

    pub fn call_status(handle: u32) -> i32 {
        unsafe { dapr::call_status(handle) }
    }

    pub fn call_read(handle: u32, part: u32, offset: u32, buffer: &mut [u8]) -> i32 {
        unsafe { dapr::call_read(handle, part, offset, buffer.as_mut_ptr(), buffer.len()) }
    }

    pub fn call_close(handle: u32) {
        unsafe { dapr::call_close(handle) };
    }

    pub fn nn_load(name: &str) -> Result<u32, u32> {
        let mut graph = 0;
        result(unsafe { nn::load_by_name(name.as_ptr(), name.len(), &mut graph) }, graph)
    }

    pub fn nn_context(graph: u32) -> Result<u32, u32> {
        let mut context = 0;
        result(unsafe { nn::init_execution_context(graph, &mut context) }, context)
    }

    pub fn nn_set_input(context: u32, index: u32, kind: u8, shape: &[u32], data: &[u8]) -> Result<(), u32> {
        let tensor =
            nn::Tensor { dimensions: shape.as_ptr(), rank: shape.len(), kind, data: data.as_ptr(), size: data.len() };
        result(unsafe { nn::set_input(context, index, &tensor) }, ())
    }

    pub fn nn_compute(context: u32) -> Result<(), u32> {
        result(unsafe { nn::compute(context) }, ())
    }

    /// The error number, and how many bytes the output has where that is known.
    pub fn nn_output(context: u32, index: u32, buffer: &mut [u8]) -> (u32, usize) {
        let mut written = 0;
        let error = unsafe { nn::get_output(context, index, buffer.as_mut_ptr(), buffer.len(), &mut written) };
        (error, written as usize)
    }

    pub fn load_image(picture: &[u8], width: u32, height: u32, kind: u32, buffer: &mut [u8]) -> u32 {
        unsafe {
            image::load_image(picture.as_ptr(), picture.len(), width, height, kind, buffer.as_mut_ptr(), buffer.len())
        }
    }

    fn result<T>(error: u32, value: T) -> Result<T, u32> {
        if error == 0 {
            Ok(value)
        } else {
            Err(error)
        }
    }
}
