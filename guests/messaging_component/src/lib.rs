//! A component for `wasi:messaging`, made with wit-bindgen: it counts the messages of each topic in the state store
//! `store`, and sends each on, with its number, to the topic `counted` of the pub/sub component `pubsub`.

wit_bindgen::generate!({
    path: [
        "../../abi/guesthouse_abi/wit/wasi-messaging.wit",
        "../../abi/guesthouse_abi/wit/wasi-keyvalue.wit",
    ],
    inline: r#"
        package guests:messaging-component;

        world messaging-component {
            import wasi:messaging/producer@0.2.0-draft;
            import wasi:messaging/request-reply@0.2.0-draft;
            import wasi:keyvalue/store@0.2.0-draft2;
            import wasi:keyvalue/atomics@0.2.0-draft2;
            export wasi:messaging/incoming-handler@0.2.0-draft;
        }
    "#,
    generate_all,
});

use exports::wasi::messaging::incoming_handler::{Error, Guest, Message};
use wasi::keyvalue::{atomics, store};
use wasi::messaging::producer;
use wasi::messaging::request_reply;
use wasi::messaging::types::Client;

struct Counts;
export!(Counts);

impl Guest for Counts {
    fn handle(message: Message) -> Result<(), Error> {
        let topic = message.topic().unwrap_or_default();
        let data = message.data();
        match data.as_slice() {
            b"timeout" => return Err(Error::Timeout),
            b"fail" => return Err(Error::Other("it is said to".to_string())),
            _ => {}
        }
        let told = |error: store::Error| Error::Other(format!("{error:?}"));
        let bucket = store::open("store").map_err(told)?;
        let number = atomics::increment(&bucket, &topic, 1).map_err(told)?;
        let client = Client::connect("pubsub")?;
        if data == b"ask" {
            request_reply::request(&client, "counted", &message, None)?;
        }
        let on = Message::new(&data);
        on.set_content_type(&message.content_type().unwrap_or("text/plain".to_string()));
        for (name, value) in message.metadata().unwrap_or_default() {
            on.add_metadata(&name, &value);
        }
        on.add_metadata("number", &number.to_string());
        producer::send(&client, "counted", on)?;
        client.disconnect()
    }
}
