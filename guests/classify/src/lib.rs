//! Names what a picture shows: a JPEG or PNG in, the five likeliest ImageNet classes out, as JSON. It is written as a
//! guest of WasmEdge is, with WasmEdge's own crates; only the model is the host's, so the module stays small.

use serde::Serialize;
use wasmedge_bindgen as _; // exports allocate and deallocate
use wasmedge_bindgen_macro::wasmedge_bindgen;
use wasmedge_tensorflow_interface::{
    load_jpg_image_to_rgb8, load_png_image_to_rgb8, ModelType, Session,
};

#[path = "../../sdk/guesthouse.rs"]
mod guesthouse;
use guesthouse::malformed;

/// In place of a model's bytes: "the host's model of this name".
const MODEL: &[u8] = b"guesthouse:model/classifier";
/// A JSON array of strings. None of them has a character to escape, so that what stands between two quotes is a label.
const LABELS: &str = include_str!("../imagenet-labels.json");
const _: () = assert!(!escapes(LABELS.as_bytes()));
const SIDE: u32 = 224;
const TOP: usize = 5;

#[derive(Serialize)]
struct Class<'a> {
    label: &'a str,
    index: usize,
    probability: f64,
}

#[wasmedge_bindgen]
pub fn infer(image: Vec<u8>) -> Result<String, String> {
    let pixels = decode(&image)?;
    let shape = [1, i64::from(SIDE), i64::from(SIDE), 3];
    let mut session = Session::new(MODEL, ModelType::TensorFlow);
    session
        .add_input("input", &pixels, &shape)
        .add_output("probabilities")
        .run();
    let probabilities: Vec<f32> = session.get_output("probabilities");
    // The crate has no other sign of a failure.
    if probabilities.is_empty() {
        return Err("the host did not run the model guesthouse:model/classifier".into());
    }
    describe(&probabilities)
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

/// Whether a JSON text has a character that is escaped.
const fn escapes(text: &[u8]) -> bool {
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'\\' {
            return true;
        }
        at += 1;
    }
    false
}

fn describe(probabilities: &[f32]) -> Result<String, String> {
    let labels: Vec<&str> = LABELS.split('"').skip(1).step_by(2).collect();
    if probabilities.len() != labels.len() {
        let (given, known) = (probabilities.len(), labels.len());
        return Err(format!(
            "the model gave {given} probabilities for {known} classes"
        ));
    }
    let top: Vec<Class> = likeliest(probabilities)
        .into_iter()
        .map(|index| Class {
            label: labels[index],
            index,
            probability: (f64::from(probabilities[index]) * 10_000.0).round() / 10_000.0,
        })
        .collect();
    serde_json::to_string(&top).map_err(|error| error.to_string())
}

/// Where the TOP largest are, the largest first; of equal ones, the first.
fn likeliest(probabilities: &[f32]) -> Vec<usize> {
    let mut top: Vec<usize> = Vec::with_capacity(TOP + 1);
    for (index, probability) in probabilities.iter().enumerate() {
        let larger = |&other: &usize| probabilities[other].total_cmp(probability).is_ge();
        let place = top.iter().take_while(|other| larger(other)).count();
        if place < TOP {
            top.insert(place, index);
            top.truncate(TOP);
        }
    }
    top
}
