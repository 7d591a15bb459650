//! The attributes of `guesthouse-dapr`: each exports a function as the handler of one kind of event. What a handler
//! takes and gives is described there. Use them through that crate. They need no other crate.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

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
    on_actor, "methods of actors, and of their timers and reminders that have no handler of their own";
    on_timer, "timers of actors";
    on_reminder, "reminders of actors";
    on_activate, "actors before their first turn on a host";
    on_deactivate, "actors that the sidecar lets go";
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

/// Makes a guest of a type and its functions: an actor whose state is a value of the type.
///
/// ```ignore
/// #[derive(Default, Serialize, Deserialize)]
/// struct Counter {
///     total: u64,
/// }
///
/// #[dapr::actor]
/// impl Counter {
///     #[method]
///     fn add(&mut self, turn: &Turn) -> Result<Reply> {
///         self.total += turn.json::<u64>()?;
///         Reply::json(&self.total)
///     }
/// }
/// ```
///
/// Functions with `#[method]`, `#[timer]` and `#[reminder]` are called for the method, timer or reminder of their name, or
/// of another one that is written there: `#[method("add-item")]`. `#[activate]` and `#[deactivate]` are for these
/// events. What they give is an answer as every handler's. Functions without such an attribute are the type's own.
#[proc_macro_attribute]
pub fn actor(arguments: TokenStream, block: TokenStream) -> TokenStream {
    match actor_of(arguments, block) {
        Ok(tokens) => tokens,
        Err(why) => format!("compile_error!({why:?});").parse().unwrap(),
    }
}

/// What an attribute of a function is for: the trigger's name in `guesthouse_dapr::Trigger`, and the export.
const TURNS: [(&str, &str, &str); 5] = [
    ("method", "Actor", "dapr_on_actor"),
    ("timer", "Timer", "dapr_on_timer"),
    ("reminder", "Reminder", "dapr_on_reminder"),
    ("activate", "Activate", "dapr_on_activate"),
    ("deactivate", "Deactivate", "dapr_on_deactivate"),
];

/// A function that is called for turns.
struct Taker {
    attribute: &'static str,
    trigger: &'static str,
    name: String, // a literal; empty for activations
    function: String,
}

fn actor_of(arguments: TokenStream, block: TokenStream) -> Result<TokenStream, String> {
    let usage = "write #[actor] without arguments on an impl block: impl Counter { #[method] fn add(&mut self, turn: &Turn) … }";
    let mut tokens: Vec<TokenTree> = block.into_iter().collect();
    let of_type = tokens.iter().skip_while(|token| token.to_string() != "impl").nth(1).map(ToString::to_string);
    let (Some(TokenTree::Group(body)), Some(of_type)) = (tokens.pop(), of_type) else { return Err(usage.into()) };
    let plain = tokens.last().is_some_and(|last| last.to_string() == of_type); // no `for`, no parameters
    if !arguments.is_empty() || !plain || body.delimiter() != Delimiter::Brace {
        return Err(usage.into());
    }
    let (body, takers) = functions_of(body.stream())?;
    if !takers.iter().any(|taker| taker.attribute == "method") {
        return Err("an actor has methods: write #[method] before a function of this block".into());
    }
    tokens.push(TokenTree::Group(Group::new(Delimiter::Brace, body)));
    let mut made: TokenStream = tokens.into_iter().collect();
    made.extend(exports(&of_type, &takers).parse::<TokenStream>().unwrap());
    Ok(made)
}

/// The block without the attributes that are meant for `actor`, and what these say.
fn functions_of(body: TokenStream) -> Result<(TokenStream, Vec<Taker>), String> {
    let (mut kept, mut takers): (Vec<TokenTree>, Vec<Taker>) = (Vec::new(), Vec::new());
    let mut open: Option<(&'static str, &'static str, Option<String>)> = None;
    let mut tokens = body.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if let (TokenTree::Punct(sign), Some(TokenTree::Group(group))) = (&token, tokens.peek()) {
            if sign.as_char() == '#' && group.delimiter() == Delimiter::Bracket {
                if let Some(found) = turn_of(group.stream())? {
                    if open.replace(found).is_some() {
                        return Err("a function is called for one kind of turn: write one of these attributes".into());
                    }
                    tokens.next();
                    continue;
                }
            }
        }
        let is_function = matches!(&token, TokenTree::Ident(word) if word.to_string() == "fn");
        kept.push(token);
        if let (true, Some(TokenTree::Ident(name))) = (is_function, tokens.peek()) {
            if let Some((attribute, trigger, given)) = open.take() {
                let function = name.to_string();
                let activation = attribute.ends_with("activate");
                let name = if activation { String::new() } else { given.unwrap_or_else(|| format!("{function:?}")) };
                if takers.iter().any(|taker| taker.attribute == attribute && taker.name == name) {
                    return Err(format!("two functions are called for the same {attribute}"));
                }
                takers.push(Taker { attribute, trigger, name, function });
            }
        }
    }
    if open.is_some() {
        return Err("an attribute for turns goes on a function".into());
    }
    Ok((kept.into_iter().collect(), takers))
}

/// What an attribute says, if it is one of those for turns.
fn turn_of(attribute: TokenStream) -> Result<Option<(&'static str, &'static str, Option<String>)>, String> {
    let tokens: Vec<TokenTree> = attribute.into_iter().collect();
    let word = tokens.first().map(ToString::to_string);
    let Some(&(name, trigger, _)) = TURNS.iter().find(|turn| Some(turn.0) == word.as_deref()) else { return Ok(None) };
    let usage = || format!("write #[{name}], or #[{name}(\"the-name\")]");
    match &tokens[1..] {
        [] => Ok(Some((name, trigger, None))),
        [TokenTree::Group(group)] if !name.ends_with("activate") => {
            let given = group.stream().to_string();
            let text = given.len() >= 2 && given.starts_with('"') && given.ends_with('"');
            let one = group.stream().into_iter().count() == 1;
            if text && one {
                Ok(Some((name, trigger, Some(given))))
            } else {
                Err(usage())
            }
        }
        _ => Err(usage()),
    }
}

fn exports(of_type: &str, takers: &[Taker]) -> String {
    let mut arms = String::new();
    for taker in takers {
        let name = if taker.name.is_empty() { "_" } else { &taker.name };
        arms += &format!(
            "(::guesthouse_dapr::Trigger::{}, {name}) => ::guesthouse_dapr::Answer::into_reply(self.{}(turn)),\n",
            taker.trigger, taker.function
        );
    }
    let mut made = format!(
        "impl ::guesthouse_dapr::Actor for {of_type} {{
            fn take(
                &mut self,
                turn: &::guesthouse_dapr::Turn,
            ) -> ::core::option::Option<::guesthouse_dapr::Result<::guesthouse_dapr::Reply>> {{
                ::core::option::Option::Some(match (turn.trigger(), turn.method()) {{
                    {arms}
                    _ => return ::core::option::Option::None,
                }})
            }}
        }}"
    );
    for (attribute, _, export) in TURNS {
        if takers.iter().any(|taker| taker.attribute == attribute) {
            made += &format!(
                "const _: () = {{
                    #[allow(dead_code)]
                    #[cfg_attr(target_arch = \"wasm32\", unsafe(export_name = \"{export}\"))]
                    extern \"C\" fn __dapr_export() -> i32 {{
                        ::guesthouse_dapr::answer(::guesthouse_dapr::take_turn::<{of_type}>)
                    }}
                }};"
            );
        }
    }
    made
}
