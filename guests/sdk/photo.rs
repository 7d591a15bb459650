//! How a program opens a stranger's photo with the crate `image`. Where the photo is too large for the memory of the
//! guest, the program says so and ends with exit code 65. It would trap otherwise, which tells nobody that the photo is
//! at fault.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint;
use std::io::Cursor;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use image::{ImageDecoder, ImageReader, ImageResult};

/// EX_DATAERR of sysexits.h: the input is at fault.
pub const DATA_ERROR: u8 = 65;

/// Width and height of the picture, once they are known.
static SIZE: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];

/// The standard allocator, except that a program without memory says so and ends, where it would trap.
struct OrEnd;

#[global_allocator]
static ALLOCATOR: OrEnd = OrEnd;

unsafe impl GlobalAlloc for OrEnd {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        or_end(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        or_end(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        or_end(unsafe { System.realloc(old, layout, size) }, size)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        unsafe { System.dealloc(old, layout) }
    }
}

fn or_end(found: *mut u8, size: usize) -> *mut u8 {
    if found.is_null() {
        let [width, height] = [SIZE[0].load(Relaxed), SIZE[1].load(Relaxed)];
        let picture = format_args!("a picture of {width}x{height} pixels");
        let what = if width == 0 {
            format_args!("the body")
        } else {
            picture
        };
        eprintln!("{what} is too large for the memory of this guest (limits.memory): it wanted {size} bytes more");
        process::exit(DATA_ERROR.into());
    }
    found
}

/// The decoder of `photo`, which has read no more than the picture's size. `beside`: how many bytes for each pixel the
/// program will hold beside the decoded picture.
pub fn open(photo: &[u8], beside: u64) -> ImageResult<impl ImageDecoder + '_> {
    let decoder = ImageReader::new(Cursor::new(photo))
        .with_guessed_format()?
        .into_decoder()?;
    let (width, height) = decoder.dimensions();
    SIZE[0].store(width, Relaxed);
    SIZE[1].store(height, Relaxed);
    // What is held at the same time at worst. Asked for and given back, so that a guest without that much says so
    // before it decodes for seconds.
    let pixels = u64::from(width) * u64::from(height);
    let needed = decoder
        .total_bytes()
        .saturating_add(pixels.saturating_mul(beside));
    drop(hint::black_box(Vec::<u8>::with_capacity(
        usize::try_from(needed).unwrap_or(usize::MAX / 2),
    )));
    Ok(decoder)
}
