//! Turns a photo grey: a JPEG or PNG on standard input, a PNG on standard output. It is an ordinary program and knows
//! nothing of its host; the picture is decoded inside the guest. What is not a picture, or one that is too large for the
//! guest's memory, ends with exit code 65.

use std::io::{self, Cursor, Read, Write};
use std::process::ExitCode;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageResult};

#[path = "../../sdk/photo.rs"]
mod photo;
use photo::DATA_ERROR;

/// EX_IOERR of sysexits.h: standard input or output broke.
const IO_ERROR: u8 = 74;

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
    // Beside the picture there are, at worst, the grey one and that as a PNG: a byte for each pixel in both.
    let mut decoder = photo::open(photo, 2)?;
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
