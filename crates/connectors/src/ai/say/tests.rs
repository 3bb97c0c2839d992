#![allow(clippy::unwrap_used)]

use super::super::ToolCall;
use super::*;

const WIRES: [Wire; 2] = [Wire::OpenAiChat, Wire::Anthropic];

fn title() -> Title {
    Title { id: "id-1".to_owned(), model: "p/m".to_owned(), created_secs: 7 }
}

fn usage() -> Usage {
    Usage { uncached_in: 10, cached_in: 4, write_any: 6, out: 3, reasoning: 2, ..Usage::default() }
}

/// An answer of a text and two calls, in pieces: what is there after each.
fn pieces() -> Vec<Gather> {
    let mut gather = Gather::new(Wire::Gemini);
    let mut all = vec![gather.clone()];
    gather.text.push_str("Hé");
    all.push(gather.clone());
    gather.text.push_str("llo");
    gather.calls.push(ToolCall { id: "a".into(), name: "look".into(), arguments: "{\"x\"".into() });
    all.push(gather.clone());
    gather.calls[0].arguments.push_str(":1}");
    gather.calls.push(ToolCall { id: "b".into(), name: "go".into(), arguments: "{}".into() });
    gather.finish = Some(Finish::Tools);
    all.push(gather);
    all
}

fn stream(wire: Wire, wants_usage: bool) -> Vec<Event> {
    let pieces = pieces();
    let mut speaker = Speaker::new(wire, title(), wants_usage);
    let mut events: Vec<Event> = pieces.iter().flat_map(|gather| speaker.more(gather)).collect();
    events.extend(speaker.end(pieces.last().unwrap(), Some(&usage())));
    events
}

/// A stream that we tell is read by our own reader of that wire as the same answer.
#[test]
fn a_stream_is_the_same_answer_as_the_whole() {
    for wire in WIRES {
        let (mut whole, mut streamed) = (Gather::new(wire), Gather::new(wire));
        whole.whole(&say(wire, &title(), pieces().last().unwrap(), Some(&usage())).to_string());
        for event in stream(wire, true) {
            streamed.event(&event.data);
        }

        for gather in [&whole, &streamed] {
            assert_eq!(gather.text, "Héllo", "{wire:?}");
            assert_eq!(gather.calls, pieces().last().unwrap().calls, "{wire:?}");
            assert_eq!(gather.finish, Some(Finish::Tools), "{wire:?}");
            assert_eq!(gather.id.as_deref(), Some("id-1"), "{wire:?}");
            assert!(gather.is_over, "{wire:?}");
            let read = gather.usage().unwrap().unwrap();
            assert_eq!((read.input_total(), read.output_total()), (20, 5), "{wire:?}");
            assert_eq!(read.cached_in, 4, "{wire:?}");
        }
    }
}

#[test]
fn text_is_told_as_it_comes() {
    for wire in WIRES {
        let mut speaker = Speaker::new(wire, title(), false);
        let counts: Vec<usize> = pieces().iter().map(|gather| speaker.more(gather).len()).collect();
        let expected = if wire == Wire::Anthropic { [1, 2, 1, 0] } else { [1, 1, 2, 2] };
        assert_eq!(counts, expected, "{wire:?}");
    }
}

#[test]
fn a_chat_tells_its_usage_only_to_who_asked() {
    let has_usage = |events: Vec<Event>| events.iter().any(|event| event.data.contains("prompt_tokens"));

    assert!(has_usage(stream(Wire::OpenAiChat, true)));
    assert!(!has_usage(stream(Wire::OpenAiChat, false)));
    assert_eq!(stream(Wire::OpenAiChat, false).last().unwrap().data, "[DONE]");
}

#[test]
fn arguments_that_are_no_object_are_an_empty_one() {
    let mut gather = Gather::new(Wire::OpenAiChat);
    gather.calls.push(ToolCall { id: "a".into(), name: "look".into(), arguments: "[1".into() });

    let body = say(Wire::Anthropic, &title(), &gather, None);

    assert_eq!(body["content"][0]["input"], json!({}));
}
