//! Says whether a person is on a picture: a JPEG or PNG in, two probabilities out, as JSON. Like most guests of
//! WasmEdge it carries its model, a TensorFlow Lite file, and hands it to the host on every call.

use wasmedge_bindgen as _; // exports allocate and deallocate
use wasmedge_bindgen_macro::wasmedge_bindgen;
use wasmedge_tensorflow_interface::{
    load_jpg_image_to_rgb8, load_png_image_to_rgb8, ModelType, Session,
};

#[path = "../../sdk/guesthouse.rs"]
mod guesthouse;
use guesthouse::malformed;

/// Visual Wake Words of MLPerf Tiny. In the file the input is called `input_1`, float32 [1,96,96,3] of raw 0..255, and
/// the output `Identity`, float32 [1,2]: person, no person.
const MODEL: &[u8] = include_bytes!("../visual_wake_words.tflite");
const SIDE: u32 = 96;

#[wasmedge_bindgen]
pub fn infer(image: Vec<u8>) -> Result<String, String> {
    // Not load_*_to_rgb32f, which scales to 0..1.
    let pixels: Vec<f32> = decode(&image)?.into_iter().map(f32::from).collect();
    let shape = [1, i64::from(SIDE), i64::from(SIDE), 3];
    let mut session = Session::new(MODEL, ModelType::TensorFlowLite);
    session.add_input("input_1", &pixels, &shape).run();
    let output: Vec<f32> = session.get_output("Identity");
    // The crate has no other sign of a failure.
    let [person, no_person] = output[..] else {
        return Err("the host did not run the model visual_wake_words.tflite".into());
    };
    Ok(format!(
        r#"{{"person":{person:.3},"no_person":{no_person:.3}}}"#
    ))
}

/// The picture as SIDE x SIDE pixels of red, green and blue. The host decodes and resizes it; where it cannot, the
/// crate gives nothing but zeros.
fn decode(image: &[u8]) -> Result<Vec<u8>, String> {
    let pixels = match image {
        [0xff, 0xd8, 0xff, ..] => load_jpg_image_to_rgb8(image, SIDE, SIDE),
        [0x89, b'P', b'N', b'G', ..] => load_png_image_to_rgb8(image, SIDE, SIDE),
        _ => Vec::new(),
    };
    if pixels.iter().all(|&value| value == 0) {
        return Err(malformed(
            "the body is not a JPEG or PNG picture (or it is all black)",
        ));
    }
    Ok(pixels)
}
