//! Pictures, which the host decodes and resizes (`wasmedge_image`).

use crate::{sys, Error, Result};

const RGB8: u32 = 0;

/// A JPEG or PNG as `width` x `height` pixels, each of red, green and blue as one byte. A picture that the host does not
/// take is the event's fault (`Drop`); why is in the guest's log.
pub fn rgb8(picture: &[u8], width: u32, height: u32) -> Result<Vec<u8>> {
    let size = usize::try_from(u64::from(width) * u64::from(height) * 3)?;
    let mut pixels = vec![0; size];
    if sys::load_image(picture, width, height, RGB8, &mut pixels) != 0 {
        return Err(Error::drop("the body is not a picture"));
    }
    Ok(pixels)
}
