//! A plug-in as the kit of Extism has it: the same three functions as in the other languages (tests/plugins).

use extism_pdk::*;

#[host_fn("extism:host/user")]
extern "ExtismHost" {
    fn dapr_call(request: Vec<u8>) -> Vec<u8>;
}

#[plugin_fn]
pub fn echo(body: Vec<u8>) -> FnResult<Vec<u8>> {
    Ok(body)
}

/// The configuration `colour`, the body by way of a variable, and the state `key` of the store `state`.
#[plugin_fn]
pub fn work(body: String) -> FnResult<String> {
    let colour = config::get("colour")?.unwrap_or_default();
    var::set("body", &body)?;
    let kept: Option<String> = var::get("body")?;
    let absent: Option<String> = var::get("absent")?;
    info!("work: {} bytes", body.len());
    let answer = unsafe { dapr_call(b"GetState\n\x0a\x05state\x12\x03key".to_vec())? };
    let state = match answer.split_first() {
        Some((0, message)) => {
            String::from_utf8_lossy(message.get(2..).unwrap_or_default()).into_owned()
        }
        Some((code, text)) => {
            return Err(WithReturnCode::new(
                Error::msg(format!("{code}: {}", String::from_utf8_lossy(text))),
                1,
            ))
        }
        None => "no room".into(),
    };
    Ok(format!(
        "{colour} {} {} {state}",
        kept.unwrap_or_default(),
        absent.is_none()
    ))
}

#[plugin_fn]
pub fn refuse(body: String) -> FnResult<()> {
    Err(WithReturnCode::new(Error::msg(format!("no {body}")), 1))
}
