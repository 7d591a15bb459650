//! Says whether a person is on a picture, the way the example programs of WasmEdge do: its command line names a
//! TensorFlow Lite file and a picture, it opens both and prints what it sees. WasmEdge would run it as
//! `wasmedge --dir .:. person_files.wasm visual_wake_words.tflite photo.jpg`; nothing of Guesthouse is in it. Exit code
//! 65: the picture is none. 1: something else failed.

use std::process::ExitCode;
use std::{env, fs};
use wasmedge_tensorflow_interface::{
    load_jpg_image_to_rgb8, load_png_image_to_rgb8, ModelType, Session,
};

/// What visual_wake_words.tflite takes: float32 [1,96,96,3] of raw 0..255.
const SIDE: u32 = 96;
/// EX_DATAERR of sysexits.h: the input is at fault.
const DATA_ERROR: u8 = 65;
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, model, picture] = &arguments[..] else {
        eprintln!("usage: person_files MODEL.tflite PICTURE");
        return ExitCode::from(2);
    };
    match seen(model, picture) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err((code, text)) => {
            eprintln!("{text}");
            ExitCode::from(code)
        }
    }
}

/// What is seen, or the exit code and why.
fn seen(model: &str, picture: &str) -> Result<String, (u8, String)> {
    let read = |name: &str| fs::read(name).map_err(|error| (FAILURE, format!("{name}: {error}")));
    let (model, image) = (read(model)?, read(picture)?);
    let pixels = match &image[..] {
        [0xff, 0xd8, 0xff, ..] => load_jpg_image_to_rgb8(&image, SIDE, SIDE),
        [0x89, b'P', b'N', b'G', ..] => load_png_image_to_rgb8(&image, SIDE, SIDE),
        _ => Vec::new(),
    };
    // The host decodes and resizes the picture; where it cannot, the crate gives nothing but zeros.
    if pixels.iter().all(|&value| value == 0) {
        let text = format!("{picture}: not a JPEG or PNG picture (or it is all black)");
        return Err((DATA_ERROR, text));
    }
    let values: Vec<f32> = pixels.into_iter().map(f32::from).collect();
    let mut session = Session::new(&model, ModelType::TensorFlowLite);
    session
        .add_input("input_1", &values, &[1, i64::from(SIDE), i64::from(SIDE), 3])
        .run();
    let output: Vec<f32> = session.get_output("Identity");
    // The crate has no other sign of a failure.
    let [person, no_person] = output[..] else {
        return Err((FAILURE, "the host did not run the model".into()));
    };
    Ok(format!("person {person:.3}, no person {no_person:.3}"))
}
