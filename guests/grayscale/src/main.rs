//! Turns a photo grey: a JPEG or PNG on standard input, a PNG on standard output. It is an ordinary program and knows
//! nothing of its host; the picture is decoded inside the guest. What is not a picture, or one that is too large for the
//! guest's memory, ends with exit code 65.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint;
use std::io::{self, Cursor, Read, Write};
use std::process::{self, ExitCode};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, ImageResult};

/// EX_DATAERR of sysexits.h: the input is at fault.
const DATA_ERROR: u8 = 65;
/// EX_IOERR of sysexits.h: standard input or output broke.
const IO_ERROR: u8 = 74;

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

fn main() -> ExitCode {
    let mut photo = Vec::new();
    if let Err(error) = io::stdin().read_to_end(&mut photo) {
        return fail(IO_ERROR, &format!("cannot read the picture: {error}"));
    }
    if photo.is_empty() {
        return fail(
            DATA_ERROR,
            "the body is empty; a JPEG or PNG picture was expected",
        );
    }
    match to_grey_png(&photo) {
        Err(error) => fail(
            DATA_ERROR,
            &format!("the body is not a JPEG or PNG picture: {error}"),
        ),
        Ok(png) => match io::stdout().write_all(&png) {
            Err(error) => fail(IO_ERROR, &format!("cannot write the picture: {error}")),
            Ok(()) => ExitCode::SUCCESS,
        },
    }
}

fn to_grey_png(photo: &[u8]) -> ImageResult<Vec<u8>> {
    let mut decoder = ImageReader::new(Cursor::new(photo))
        .with_guessed_format()?
        .into_decoder()?;
    let (width, height) = decoder.dimensions();
    SIZE[0].store(width, Relaxed);
    SIZE[1].store(height, Relaxed);
    // What is held at the same time at worst: the picture, the grey one, and that as a PNG. Asked for and given back, so
    // that a guest without that much says so before it decodes for seconds.
    let grey = u64::from(width) * u64::from(height);
    let needed = decoder.total_bytes().saturating_add(grey.saturating_mul(2));
    drop(hint::black_box(Vec::<u8>::with_capacity(
        usize::try_from(needed).unwrap_or(usize::MAX / 2),
    )));
    // Cameras store a photo as the sensor lay and note how it was held; a PNG has no such note.
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    let mut png = Cursor::new(Vec::new());
    picture.grayscale().write_to(&mut png, ImageFormat::Png)?;
    Ok(png.into_inner())
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(code)
}
