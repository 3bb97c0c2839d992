//! Shapes of usage as providers send them, and each way in which others have counted them wrong.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn read(wire: Wire, event: &str) -> Result<Option<Usage>, UsageError> {
    let mut meter = Meter::new(wire);
    meter.see(event);
    meter.usage()
}

fn usage(wire: Wire, usage: &str) -> Usage {
    let member = if wire == Wire::Gemini { "usageMetadata" } else { "usage" };
    read(wire, &format!(r#"{{"{member}":{usage}}}"#)).unwrap().unwrap()
}

fn problem(wire: Wire, usage: &str) -> String {
    let member = if wire == Wire::Gemini { "usageMetadata" } else { "usage" };
    read(wire, &format!(r#"{{"{member}":{usage}}}"#)).unwrap_err().to_string()
}

use Wire::{Anthropic, Gemini, OpenAiChat as Chat, OpenAiResponses as Responses};

#[test]
fn shapes_of_openai_and_its_dialects_come_out_disjoint() {
    let in_out = |uncached_in, cached_in, out, reasoning| Usage {
        uncached_in,
        cached_in,
        out,
        reasoning,
        ..Usage::default()
    };
    for (dialect, raw, expected) in [
        ("plain", r#"{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29}"#, in_out(19, 0, 10, 0)),
        (
            "details",
            r#"{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,
                "prompt_tokens_details":{"cached_tokens":1920,"audio_tokens":0},
                "completion_tokens_details":{"reasoning_tokens":192,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":40}}"#,
            in_out(86, 1_920, 108, 192),
        ),
        (
            "null details",
            r#"{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":null,"completion_tokens_details":null}"#,
            in_out(5, 0, 1, 0),
        ),
        (
            "writes of its own accord",
            r#"{"prompt_tokens":5000,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":1000,"cache_write_tokens":3000}}"#,
            Usage { write_any: 3_000, ..in_out(1_000, 1_000, 10, 0) },
        ),
        (
            "deepseek",
            r#"{"prompt_tokens":100,"completion_tokens":7,"total_tokens":107,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}"#,
            in_out(36, 64, 7, 0),
        ),
        (
            "deepseek reasoner",
            r#"{"prompt_tokens":100,"completion_tokens":700,"total_tokens":800,"prompt_tokens_details":{"cached_tokens":64},
                "completion_tokens_details":{"reasoning_tokens":600},"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}"#,
            in_out(36, 64, 100, 600),
        ),
        (
            "mistral",
            r#"{"prompt_tokens":100,"completion_tokens":7,"total_tokens":107,"num_cached_tokens":60}"#,
            in_out(40, 60, 7, 0),
        ),
        (
            "moonshot",
            r#"{"prompt_tokens":100,"completion_tokens":7,"total_tokens":107,"cached_tokens":60}"#,
            in_out(40, 60, 7, 0),
        ),
        (
            "xai leaves thoughts out of its completion",
            r#"{"prompt_tokens":37,"completion_tokens":3,"total_tokens":351,
                "prompt_tokens_details":{"text_tokens":37,"audio_tokens":0,"image_tokens":0,"cached_tokens":8},
                "completion_tokens_details":{"reasoning_tokens":311,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0},"num_sources_used":0}"#,
            in_out(29, 8, 3, 311),
        ),
        (
            "thoughts left out, and no total",
            r#"{"prompt_tokens":1,"completion_tokens":3,"completion_tokens_details":{"reasoning_tokens":311}}"#,
            Usage { corrected: true, ..in_out(1, 0, 3, 311) },
        ),
        (
            "google's compatible endpoint omits thoughts",
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":515}"#,
            in_out(10, 0, 505, 0),
        ),
        ("embeddings", r#"{"prompt_tokens":8,"total_tokens":8}"#, in_out(8, 0, 0, 0)),
        (
            "groq",
            r#"{"queue_time":0.03,"prompt_tokens":18,"prompt_time":0.0005,"completion_tokens":556,"completion_time":0.46,"total_tokens":574,"total_time":0.46}"#,
            in_out(18, 0, 556, 0),
        ),
        (
            "openrouter",
            r#"{"prompt_tokens":194,"completion_tokens":2,"total_tokens":196,"cost":0.95e-3,"is_byok":false,"cost_details":{"upstream_inference_cost":19},
                "prompt_tokens_details":{"cached_tokens":100,"cache_write_tokens":50,"audio_tokens":0,"video_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}"#,
            Usage { write_any: 50, provider_cost: Some(Nano::new(950_000)), ..in_out(44, 100, 2, 0) },
        ),
        (
            "perplexity",
            r#"{"prompt_tokens":14,"completion_tokens":180,"total_tokens":194,"search_context_size":"low","citation_tokens":900,"num_search_queries":3,"reasoning_tokens":40,
                "cost":{"input_tokens_cost":0.000014,"output_tokens_cost":0.0018,"request_cost":0.006,"total_cost":0.007814}}"#,
            Usage { searches: 3, provider_cost: Some(Nano::new(7_814_000)), ..in_out(14, 0, 180, 40) },
        ),
        (
            "qwen",
            r#"{"prompt_tokens":100,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":10,"cache_creation_input_tokens":60,"cache_creation":{"ephemeral_5m_input_tokens":60},"cache_type":"ephemeral"}}"#,
            Usage { write_any: 60, ..in_out(30, 10, 7, 0) },
        ),
        ("zeros", r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#, Usage::default()),
    ] {
        assert_eq!(usage(Chat, raw), expected, "{dialect}");
    }
}

#[test]
fn overlapping_parts_of_a_prompt_count_once_as_the_dearer() {
    let audio = usage(
        Chat,
        r#"{"prompt_tokens":100,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":80,"audio_tokens":50,"image_tokens":30}}"#,
    );
    assert_eq!((audio.audio_in, audio.cached_in, audio.image_in, audio.uncached_in), (50, 50, 0, 0));

    let images = usage(
        Chat,
        r#"{"prompt_tokens":100,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":10,"image_tokens":30}}"#,
    );
    assert_eq!((images.cached_in, images.image_in, images.uncached_in), (10, 30, 60));

    let more = usage(
        Chat,
        r#"{"prompt_tokens":100,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":80,"cache_write_tokens":50}}"#,
    );
    assert_eq!(
        (more.input_total(), more.corrected),
        (130, true),
        "parts that are more than the whole are charged"
    );
}

#[test]
fn the_usage_of_a_stream_is_its_last_word() {
    let mut chat = Meter::new(Chat);
    chat.see(r#"{"choices":[{"delta":{"content":"hi"}}],"usage":null}"#);
    assert_eq!(chat.usage(), Ok(None), "null is not zero");
    chat.see(r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11},"service_tier":"default"}"#);
    chat.see(r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#);
    let seen = chat.usage().unwrap().unwrap();
    assert_eq!(
        (seen.uncached_in, seen.out, seen.tier),
        (9, 2, Some(Tier::Standard)),
        "a chunk that comes twice counts once"
    );

    let mut groq = Meter::new(Chat);
    groq.see(r#"{"x_groq":{"id":"r","usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}}"#);
    assert_eq!(groq.usage().unwrap().unwrap().out, 2);

    let mut responses = Meter::new(Responses);
    responses.see(r#"{"type":"response.created","response":{"service_tier":"auto","usage":null}}"#);
    responses.see(r#"{"type":"response.completed","response":{"service_tier":"flex","usage":{"input_tokens":75,"output_tokens":1186,"total_tokens":1261,
        "input_tokens_details":{"cached_tokens":5,"cache_write_tokens":40,"cache_write_tokens_details":{"ttl_30m_tokens":10,"ttl_12h_tokens":20}},
        "output_tokens_details":{"reasoning_tokens":1024}}}}"#);
    responses.count_searches(2);
    let expected = Usage {
        uncached_in: 30,
        cached_in: 5,
        write_short: 10,
        write_long: 20,
        write_any: 10,
        out: 162,
        reasoning: 1_024,
        searches: 2,
        tier: Some(Tier::Flex),
        ..Usage::default()
    };
    assert_eq!(responses.usage(), Ok(Some(expected)));

    let mut gemini = Meter::new(Gemini);
    gemini.see(r#"{"usageMetadata":{"promptTokenCount":11,"totalTokenCount":11}}"#);
    gemini.see(r#"{"usageMetadata":{"promptTokenCount":11,"candidatesTokenCount":20,"thoughtsTokenCount":100,"totalTokenCount":131}}"#);
    gemini.see(r#"{"usageMetadata":{"promptTokenCount":11,"candidatesTokenCount":37,"thoughtsTokenCount":100,"totalTokenCount":148}}"#);
    let seen = gemini.usage().unwrap().unwrap();
    assert_eq!((seen.uncached_in, seen.out, seen.reasoning), (11, 37, 100));
}

#[test]
fn a_later_null_does_not_undo_what_was_said() {
    let mut meter = Meter::new(Anthropic);
    meter.see(r#"{"message":{"usage":{"input_tokens":10,"cache_read_input_tokens":7,"output_tokens":1,"service_tier":"standard"}}}"#);
    meter.see(r#"{"usage":{"input_tokens":null,"cache_read_input_tokens":null,"output_tokens":25}}"#);

    let seen = meter.usage().unwrap().unwrap();

    assert_eq!((seen.uncached_in, seen.cached_in, seen.out, seen.tier), (10, 7, 25, Some(Tier::Standard)));
    assert_eq!(
        meter.raw().as_deref(),
        Some(
            r#"{"cache_read_input_tokens":7,"input_tokens":10,"output_tokens":25,"service_tier":"standard"}"#
        )
    );
}

#[test]
fn shapes_of_anthropic_come_out_disjoint() {
    let seen = usage(
        Anthropic,
        r#"{"input_tokens":2095,"cache_creation_input_tokens":3000,"cache_read_input_tokens":5000,"output_tokens":503,
            "cache_creation":{"ephemeral_5m_input_tokens":1000,"ephemeral_1h_input_tokens":2000},"output_tokens_details":{"thinking_tokens":400},
            "server_tool_use":{"web_search_requests":2,"web_fetch_requests":5},"service_tier":"batch","inference_geo":"us","speed":"fast"}"#,
    );
    let expected = Usage {
        uncached_in: 2_095,
        cached_in: 5_000,
        write_short: 1_000,
        write_long: 2_000,
        out: 103,
        reasoning: 400,
        searches: 2,
        tier: Some(Tier::Batch),
        region: true,
        fast: true,
        ..Usage::default()
    };
    assert_eq!(seen, expected);
    assert_eq!(seen.input_total(), 2_095 + 3_000 + 5_000, "input is the sum of three");

    let nowhere = usage(
        Anthropic,
        r#"{"input_tokens":1,"output_tokens":1,"inference_geo":"not_available","speed":"standard","server_tool_use":null}"#,
    );
    assert_eq!((nowhere.region, nowhere.fast, nowhere.searches), (false, false, 0));
}

#[test]
fn rounds_of_an_anthropic_answer_never_lower_its_totals() {
    let rounds =
        |totals: &str, rounds: &str| usage(Anthropic, &format!(r#"{{{totals},"iterations":[{rounds}]}}"#));
    let totals = r#""input_tokens":100,"output_tokens":50,"cache_creation_input_tokens":184457,"cache_creation":{"ephemeral_5m_input_tokens":31490,"ephemeral_1h_input_tokens":0}"#;

    let first_alone = rounds(
        totals,
        r#"{"type":"message","input_tokens":60,"output_tokens":20,"cache_creation_input_tokens":31490}"#,
    );
    assert_eq!(
        (first_alone.uncached_in, first_alone.out, first_alone.write_short, first_alone.write_any),
        (100, 50, 31_490, 152_967)
    );

    let with_compaction = rounds(
        r#""input_tokens":45,"output_tokens":1234"#,
        r#"{"type":"compaction","input_tokens":180000,"output_tokens":3500},{"type":"message","input_tokens":23000,"output_tokens":1000}"#,
    );
    assert_eq!(
        (with_compaction.uncached_in, with_compaction.out, with_compaction.corrected),
        (203_000, 4_500, true)
    );

    let other_model = problem(
        Anthropic,
        r#"{"input_tokens":1,"output_tokens":1,"iterations":[{"type":"advisor_message","input_tokens":5,"output_tokens":5}]}"#,
    );
    assert_eq!(other_model, "usage.iterations.advisor_message is not known");
}

#[test]
fn shapes_of_gemini_come_out_disjoint() {
    let seen = usage(
        Gemini,
        r#"{"promptTokenCount":1000,"cachedContentTokenCount":600,"toolUsePromptTokenCount":50,"candidatesTokenCount":70,"thoughtsTokenCount":30,"totalTokenCount":1150,
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":700},{"modality":"IMAGE","tokenCount":200},{"modality":"AUDIO","tokenCount":100}],
            "cacheTokensDetails":[{"modality":"TEXT","tokenCount":600}],"trafficType":"ON_DEMAND"}"#,
    );
    let expected = Usage {
        uncached_in: 150,
        cached_in: 600,
        image_in: 200,
        audio_in: 100,
        out: 70,
        reasoning: 30,
        ..Usage::default()
    };
    assert_eq!(seen, expected);

    let only_thoughts =
        usage(Gemini, r#"{"promptTokenCount":10,"thoughtsTokenCount":90,"totalTokenCount":100}"#);
    assert_eq!((only_thoughts.out, only_thoughts.reasoning), (0, 90));
    let total_says_more =
        usage(Gemini, r#"{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":515}"#);
    assert_eq!(total_says_more.output_total(), 505);
    let total_says_less =
        usage(Gemini, r#"{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":12}"#);
    assert_eq!(total_says_less.output_total(), 5);
    assert!(problem(Gemini, r#"{"promptTokenCount":1,"candidatesTokenCount":9,"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":9}]}"#).contains("IMAGE"));
    assert!(problem(Gemini, r#"{"promptTokenCount":1,"candidatesTokenCount":9,"promptTokensDetails":[{"modality":"SMELL","tokenCount":9}]}"#).contains("SMELL"));
}

#[test]
fn what_is_missing_is_missing_and_not_zero() {
    for (wire, raw, expected) in [
        (Chat, r#"{"completion_tokens":5}"#, "usage.prompt_tokens is missing"),
        (Chat, r#"{"prompt_tokens":5}"#, "usage.completion_tokens is missing"),
        (Chat, r#"{"prompt_tokens":null,"completion_tokens":5}"#, "usage.prompt_tokens is missing"),
        (Responses, r#"{"input_tokens":5}"#, "usage.output_tokens is missing"),
        (Anthropic, r#"{"input_tokens":5}"#, "usage.output_tokens is missing"),
        (Anthropic, r#"{"output_tokens":5}"#, "usage.input_tokens is missing"),
        (Gemini, r#"{"promptTokenCount":5}"#, "usage.candidatesTokenCount is missing"),
        (
            Chat,
            r#"{"prompt_tokens":"5","completion_tokens":5}"#,
            "usage.prompt_tokens is \"5\", not a whole number",
        ),
        (
            Chat,
            r#"{"prompt_tokens":-5,"completion_tokens":5}"#,
            "usage.prompt_tokens is -5, not a whole number",
        ),
        (
            Chat,
            r#"{"prompt_tokens":5.5,"completion_tokens":5}"#,
            "usage.prompt_tokens is 5.5, not a whole number",
        ),
        (
            Chat,
            r#"{"prompt_tokens":1e3,"completion_tokens":5}"#,
            "usage.prompt_tokens is 1e3, not a whole number",
        ),
        (
            Chat,
            r#"{"prompt_tokens":18446744073709551615,"completion_tokens":5}"#,
            "usage.prompt_tokens is 18446744073709551615, not a whole number",
        ),
        (
            Chat,
            r#"{"prompt_tokens":5,"completion_tokens":5,"prompt_tokens_details":7}"#,
            "usage.prompt_tokens_details is 7, not a whole number",
        ),
        (Chat, r#""many""#, "the usage is not JSON"),
        (Chat, r#"{"prompt_tokens":5,]"#, "the usage is not JSON"),
    ] {
        assert_eq!(problem(wire, raw), expected, "{raw}");
    }
    for event in ["", "{}", "[]", "null", "data", r#"{"usage":null}"#, r#"{"usages":{"prompt_tokens":1}}"#] {
        assert_eq!(read(Chat, event), Ok(None), "{event}");
    }
}

#[test]
fn a_new_dimension_is_an_error_until_somebody_prices_it() {
    for (wire, raw, field) in [
        (Chat, r#"{"prompt_tokens":5,"completion_tokens":5,"hologram_tokens":1}"#, "hologram_tokens"),
        (
            Chat,
            r#"{"prompt_tokens":5,"completion_tokens":5,"cache_read_input_tokens":1}"#,
            "cache_read_input_tokens",
        ),
        (
            Chat,
            r#"{"prompt_tokens":5,"completion_tokens":5,"completion_tokens_details":{"image_tokens":1}}"#,
            "completion_tokens_details.image_tokens",
        ),
        (Chat, r#"{"prompt_tokens":5,"completion_tokens":5,"num_sources_used":4}"#, "num_sources_used"),
        (
            Responses,
            r#"{"input_tokens":5,"output_tokens":5,"input_tokens_details":{"cache_write_tokens_details":{"ttl_9y_tokens":1}}}"#,
            "input_tokens_details.cache_write_tokens_details.ttl_9y_tokens",
        ),
        (
            Anthropic,
            r#"{"input_tokens":5,"output_tokens":5,"server_tool_use":{"code_execution_requests":1}}"#,
            "server_tool_use.code_execution_requests",
        ),
        (
            Anthropic,
            r#"{"input_tokens":5,"output_tokens":5,"cache_creation":{"ephemeral_1d_input_tokens":1}}"#,
            "cache_creation.ephemeral_1d_input_tokens",
        ),
        (
            Gemini,
            r#"{"promptTokenCount":5,"candidatesTokenCount":5,"dreamsTokenCount":1}"#,
            "dreamsTokenCount",
        ),
        (Chat, r#"{"prompt_tokens":5,"completion_tokens":5,"extra_usage":{"x":3}}"#, "extra_usage"),
    ] {
        assert_eq!(problem(wire, raw), format!("usage.{field} is not known"));
    }
    let zeros = usage(
        Chat,
        r#"{"prompt_tokens":5,"completion_tokens":5,"hologram_tokens":0,"extra_usage":{"x":0},"other_tokens_details":null}"#,
    );
    assert_eq!(zeros.input_total(), 5, "what is there and nothing costs nothing");
    let tier = read(Chat, r#"{"service_tier":"turbo","usage":{"prompt_tokens":5,"completion_tokens":5}}"#)
        .unwrap_err();
    assert_eq!(tier.to_string(), r#"usage.service_tier "turbo" is not known"#);
}

#[test]
fn a_usage_without_end_is_refused() {
    let many: Vec<String> = (0..200).map(|n| format!(r#""f{n}":0"#)).collect();
    assert_eq!(
        problem(Chat, &format!("{{{}}}", many.join(","))),
        "the usage has more fields than a usage has"
    );
    let long = format!(r#"{{"prompt_tokens":1,"completion_tokens":1,"x":"{}"}}"#, "y".repeat(40_000));
    assert_eq!(problem(Chat, &long), "the usage has more fields than a usage has");
    let rounds = vec![r#"{"input_tokens":0,"output_tokens":0}"#; 500].join(",");
    assert_eq!(
        problem(Anthropic, &format!(r#"{{"input_tokens":1,"output_tokens":1,"iterations":[{rounds}]}}"#)),
        "the usage has more fields than a usage has"
    );
}

fn any_wire() -> impl Strategy<Value = Wire> {
    prop::sample::select(Wire::ALL.to_vec())
}

proptest! {
    #[test]
    fn no_event_makes_the_meter_panic(wire in any_wire(), event in "\\PC{0,200}") {
        let mut meter = Meter::new(wire);
        meter.see(&event);
        meter.usage().ok();
    }

    #[test]
    fn classes_add_up_to_the_total_or_more(
        prompt in 0..1_000_000_u64,
        cached in 0..1_200_000_u64,
        written in 0..1_200_000_u64,
        audio in 0..1_200_000_u64,
        image in 0..1_200_000_u64,
        completion in 0..100_000_u64,
        reasoning in 0..120_000_u64,
        total in prop::option::of(0..2_000_000_u64),
    ) {
        let total_member = total.map_or(String::new(), |total| format!(r#","total_tokens":{total}"#));
        let seen = usage(Chat, &format!(
            r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion}{total_member},
                "prompt_tokens_details":{{"cached_tokens":{cached},"cache_write_tokens":{written},"audio_tokens":{audio},"image_tokens":{image}}},
                "completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}}"#
        ));

        prop_assert!(seen.input_total() >= prompt.max(cached + written).max(audio));
        prop_assert!(seen.output_total() >= completion.max(reasoning));
        prop_assert!(seen.input_total() + seen.output_total() >= total.unwrap_or(0));
        prop_assert!(seen.cached_in <= cached && seen.audio_in == audio, "no class of the dear ones shrinks");
    }

    #[test]
    fn snapshots_replace_each_other(outs in prop::collection::vec(0..1_000_000_u64, 1..20)) {
        let mut meter = Meter::new(Anthropic);
        meter.see(r#"{"message":{"usage":{"input_tokens":10,"output_tokens":1}}}"#);
        for out in &outs {
            meter.see(&format!(r#"{{"usage":{{"output_tokens":{out}}}}}"#));
        }

        prop_assert_eq!(meter.usage().unwrap().unwrap().output_total(), *outs.last().unwrap());
    }
}
