//! The attributes of `guesthouse-dapr`: each exports a function as the handler of one kind of event. What a handler
//! takes and gives is described there. Use them through that crate. They need no other crate.

use proc_macro::{TokenStream, TokenTree};

macro_rules! attributes {
    ($($name:ident, $events:literal;)*) => {$(
        #[doc = concat!("Exports a function as the guest's handler of ", $events, ":")]
        #[doc = concat!("`#[", stringify!($name), "] fn name(event: Event) -> Result<Reply>`.")]
        #[proc_macro_attribute]
        pub fn $name(arguments: TokenStream, function: TokenStream) -> TokenStream {
            handler(stringify!($name), arguments, function)
        }
    )*};
}

attributes! {
    on_invoke, "service invocations";
    on_topic, "messages of topics";
    on_binding, "events of input bindings";
    on_job, "jobs";
    on_operation, "operations of an output binding that the host itself is";
    on_event, "all events for which there is no handler of their own";
}

/// The function as it is, and after it an export that calls it.
fn handler(attribute: &str, arguments: TokenStream, function: TokenStream) -> TokenStream {
    let name = match name_of(function.clone()) {
        Some(name) if arguments.is_empty() => name,
        _ => {
            let usage =
                format!("write #[{attribute}] without arguments on a function: fn name(event: Event) -> Result<Reply>");
            return format!("compile_error!({usage:?});").parse().unwrap();
        }
    };
    let export = format!(
        "const _: () = {{
            #[allow(dead_code)]
            #[cfg_attr(target_arch = \"wasm32\", unsafe(export_name = \"dapr_{attribute}\"))]
            extern \"C\" fn __dapr_export() -> i32 {{ ::guesthouse_dapr::answer({name}) }}
        }};"
    );
    let mut tokens = function;
    tokens.extend(export.parse::<TokenStream>().unwrap());
    tokens
}

/// The word after `fn`.
fn name_of(function: TokenStream) -> Option<String> {
    let mut tokens = function.into_iter();
    tokens.find(|token| matches!(token, TokenTree::Ident(word) if word.to_string() == "fn"))?;
    match tokens.next() {
        Some(TokenTree::Ident(name)) => Some(name.to_string()),
        _ => None,
    }
}
