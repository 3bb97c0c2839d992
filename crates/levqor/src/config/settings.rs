//! The table of all settings: name, default and meaning, as docs/configuration.md and `levqor config` show them.

/// One environment variable.
pub struct Setting {
    pub name: &'static str,
    pub default: &'static str,
    pub about: &'static str,
}

impl Setting {
    /// Its row in docs/configuration.md.
    pub fn row(&self) -> String {
        let default = if self.default.is_empty() { "–".to_owned() } else { format!("`{}`", self.default) };
        format!("| `{}` | {default} | {} |", self.name, self.about)
    }

    /// Its lines in .env.example: what it means, and the default, commented out.
    #[cfg(test)]
    pub fn example(&self) -> String {
        format!("# {}\n#{}={}", self.about, self.name.replace('*', "NAME"), self.default)
    }
}

const fn setting(name: &'static str, default: &'static str, about: &'static str) -> Setting {
    Setting { name, default, about }
}

/// Every setting, grouped by what it is about.
pub const SETTINGS: &[Setting] = &[
    setting(
        "HOST",
        "0.0.0.0",
        "Address to listen on; `127.0.0.1` when there are no keys, and then only loopback is allowed",
    ),
    setting("PORT", "5000", "Port to listen on; 0 takes a free one"),
    setting(
        "API_KEYS",
        "",
        "Accepted keys, separated by commas. None, and none in the database: development mode, everything is allowed, on loopback only",
    ),
    setting("API_KEYS_NEXT", "", "Keys that are accepted too, while keys are rotated"),
    setting(
        "LEVQOR_ENV",
        "development",
        "`development` or `production`. Production refuses to start without keys and has no `_dev` routes",
    ),
    setting(
        "RATE_BURST",
        "20",
        "Writes that one client may make in any 60 seconds, on all nodes of one PostgreSQL together (above 1,000: on each); also wrong keys of one client, counted apart",
    ),
    setting(
        "RATE_GLOBAL",
        "200",
        "Writes that all clients together may make in any 60 seconds, on all nodes together (above 1,000: on each)",
    ),
    setting("MAX_CONTENT_LENGTH", "524288", "Largest request body in bytes"),
    setting("BATCH_MAX_BYTES", "16777216", "Largest body of a batch intake in bytes"),
    setting(
        "MAX_CONNECTIONS",
        "4096",
        "Open connections at most; less when the system allows fewer open files",
    ),
    setting(
        "TRUSTED_PROXIES",
        "",
        "Networks of proxies whose `X-Forwarded-For` is believed, separated by commas",
    ),
    setting(
        "TLS_CERT",
        "",
        "PEM file with the server's certificate and those above it: Levqor speaks TLS itself. Read again when it changes",
    ),
    setting("TLS_KEY", "", "PEM file with the key of `TLS_CERT`, without a passphrase"),
    setting("SQLITE_PATH", "levqor.db", "The SQLite file; its folder is created"),
    setting(
        "DATABASE_URL",
        "",
        "A `postgres://` URL: PostgreSQL instead of SQLite. Setting both stops the start",
    ),
    setting("BUILD_ID", "dev", "Shown as `build` by `GET /`"),
    setting(
        "PUBLIC_USER_READS",
        "true",
        "`true`: people can be looked up by e-mail or id without a key; `false`: only with one. `false` by default when `LEVQOR_ENV=production`",
    ),
    setting(
        "LOG_LEVEL",
        "info",
        "`error`, `warn`, `info`, `debug` or `trace`; above `info` requests are not logged",
    ),
    setting("LOG_FORMAT", "text", "`text` or `json`"),
    setting(
        "OUTBOUND_ALLOW",
        "",
        "Networks inside that may be called (callbacks, `http` steps), separated by commas; none otherwise",
    ),
    setting(
        "PUBLIC_BASE_URL",
        "https://api.levqor.ai",
        "Where this service is reached from outside; stands in the sitemap, robots.txt and security.txt, and Stripe sends customers back there",
    ),
    setting(
        "CONTENT_DIR",
        "",
        "Folder with texts of your own for the pages (below); none: the embedded ones",
    ),
    setting(
        "SLACK_BASE_URL",
        "https://slack.com/api",
        "Where Slack's API is reached; this and the next four are for tests and proxies",
    ),
    setting("TELEGRAM_BASE_URL", "https://api.telegram.org", "Where Telegram's Bot API is reached"),
    setting("NOTION_BASE_URL", "https://api.notion.com", "Where Notion's API is reached"),
    setting("GMAIL_BASE_URL", "https://gmail.googleapis.com", "Where Gmail's API is reached"),
    setting(
        "GOOGLE_TOKEN_URL",
        "https://oauth2.googleapis.com/token",
        "The one address that Google's tokens are renewed at",
    ),
    setting(
        "RESEND_API_KEY",
        "",
        "Sends mails through Resend. Neither this nor `SMTP_URL`: mails are not sent, and their jobs say so; both stop the start",
    ),
    setting(
        "RESEND_BASE_URL",
        "https://api.resend.com",
        "Where Resend's API is reached; for tests and proxies",
    ),
    setting(
        "SMTP_URL",
        "",
        "Sends mails through an SMTP server: `smtps://user:password@host`, `smtp://user:password@host:587` (with STARTTLS), `smtp://localhost:25?tls=none`",
    ),
    setting(
        "EMAIL_DOMAIN",
        "levqor.ai",
        "Mails come from support@, billing@, no-reply@ and security@ this domain",
    ),
    setting(
        "RECEIVING_EMAIL",
        "",
        "The inbox that mails to these four are forwarded to, and that `levqor email test` writes to",
    ),
    setting(
        "ALERT_EMAIL",
        "",
        "Who gets a mail when a threshold of a budget is passed, separated by commas; this and the next three count where the budget names nobody",
    ),
    setting(
        "ALERT_SLACK",
        "",
        "Where Slack is told of it: a stored connection and a channel, such as `team-slack/#ops`",
    ),
    setting("ALERT_CALLBACK", "", "A URL that gets it as a signed callback; never shown"),
    setting("ALERT_WORKFLOW", "", "A workflow that gets it as its payload"),
    setting("STRIPE_SECRET_KEY", "", "Stripe's secret key (`sk_…` or `rk_…`). None: nothing can be bought"),
    setting(
        "STRIPE_WEBHOOK_SECRET",
        "",
        "Signing secret of the webhook endpoint (`whsec_…`); two with a comma between while they are exchanged. None: no event is taken",
    ),
    setting(
        "STRIPE_PRICES",
        "",
        "Ids of the prices that may be bought, separated by commas; the first is the default",
    ),
    setting(
        "STRIPE_METER_EVENT",
        "",
        "Event name of a meter at Stripe that is told what people's AI calls cost, in micro-dollars. None: nobody is told",
    ),
    setting("PUBLIC_CHECKOUT", "false", "`true`: a checkout can be begun without a key, by browsers too"),
    setting(
        "STRIPE_BASE_URL",
        "https://api.stripe.com",
        "Where Stripe's API is reached; for tests and proxies",
    ),
    setting("WORKFLOWS_DIR", "workflows", "Folder whose workflow definitions are loaded at start"),
    setting(
        "WORKERS",
        "64",
        "Jobs that may run at the same time on this node. They wait for the outside most of their time: it is not about processors",
    ),
    setting("SHUTDOWN_GRACE", "30s", "Time that running steps and requests get after SIGTERM"),
    setting(
        "CALLBACK_SECRET",
        "",
        "Signs callbacks: `whsec_…`; two, newest first, during a rotation. None: one is made at the first start and kept in the database",
    ),
    setting("RETENTION_DAYS", "30", "Finished jobs are deleted after so many days"),
    setting("RETENTION_JOBS", "none", "Finished jobs kept at most, newest first; `none` for no limit"),
    setting(
        "SECRET_KEY",
        "",
        "Seals stored connections: 64 hex digits, or base64 of 32 bytes. None: on SQLite a file beside the database, made at the first start",
    ),
    setting(
        "SECRET_KEY_OLD",
        "",
        "The key that `SECRET_KEY` replaces, until `levqor connections rekey` was run",
    ),
    setting(
        "BACKUP_DAILY",
        "true",
        "`true`: a backup is made each day at 00:00 UTC; `false`: only when somebody asks for one",
    ),
    setting(
        "BACKUP_DIR",
        "backups",
        "Folder of backups. When it is not set: `backups` beside the SQLite file, and in the working directory with PostgreSQL",
    ),
    setting("BACKUP_KEEP", "14", "Backups kept of each kind, daily ones and those made by hand"),
    setting(
        "BACKUP_S3_URL",
        "",
        "A bucket that gets a copy of each backup: `https://KEY:SECRET@host/bucket/prefix?region=eu-west-1`, any S3-compatible store; never shown",
    ),
    setting(
        "OPENAI_API_KEY",
        "",
        "Key of OpenAI: models `openai/…`, and `openai-responses/…` over its Responses API. None: they cannot be called; so with all keys of AI providers",
    ),
    setting(
        "OPENAI_BASE_URL",
        "https://api.openai.com/v1",
        "Where OpenAI is reached; the addresses of AI providers are for proxies and tests",
    ),
    setting("ANTHROPIC_API_KEY", "", "Key of Anthropic: models `anthropic/…`"),
    setting("ANTHROPIC_BASE_URL", "https://api.anthropic.com", "Where Anthropic is reached"),
    setting(
        "OPENAI_ADMIN_KEY",
        "",
        "Admin key of OpenAI (`sk-admin-…`): each day its cost report is compared with the books. None: it is not asked",
    ),
    setting(
        "OPENAI_ADMIN_URL",
        "https://api.openai.com",
        "Where that report is reached; for tests and proxies",
    ),
    setting(
        "ANTHROPIC_ADMIN_KEY",
        "",
        "Admin key of Anthropic (`sk-ant-admin…`): the same with its cost report",
    ),
    setting("ANTHROPIC_ADMIN_URL", "https://api.anthropic.com", "Where that report is reached"),
    setting("GEMINI_API_KEY", "", "Key of Google's Gemini API: models `gemini/…`"),
    setting(
        "GEMINI_BASE_URL",
        "https://generativelanguage.googleapis.com",
        "Where the Gemini API is reached",
    ),
    setting("GROQ_API_KEY", "", "Key of Groq: models `groq/…`"),
    setting("GROQ_BASE_URL", "https://api.groq.com/openai/v1", "Where Groq is reached"),
    setting("MISTRAL_API_KEY", "", "Key of Mistral: models `mistral/…`"),
    setting("MISTRAL_BASE_URL", "https://api.mistral.ai/v1", "Where Mistral is reached"),
    setting("DEEPSEEK_API_KEY", "", "Key of DeepSeek: models `deepseek/…`"),
    setting("DEEPSEEK_BASE_URL", "https://api.deepseek.com", "Where DeepSeek is reached"),
    setting("XAI_API_KEY", "", "Key of xAI: models `xai/…`"),
    setting("XAI_BASE_URL", "https://api.x.ai/v1", "Where xAI is reached"),
    setting("OPENROUTER_API_KEY", "", "Key of OpenRouter: models `openrouter/…`"),
    setting("OPENROUTER_BASE_URL", "https://openrouter.ai/api/v1", "Where OpenRouter is reached"),
    setting(
        "AZURE_OPENAI_API_KEY",
        "",
        "Key of an Azure OpenAI resource: models `azure/…`, by the names of their deployments",
    ),
    setting(
        "AZURE_OPENAI_BASE_URL",
        "",
        "Where that resource is reached: `https://NAME.openai.azure.com/openai/v1`",
    ),
    setting(
        "AI_PROVIDERS",
        "",
        "Servers of your own that speak OpenAI's chat completions: `vllm=http://10.0.0.5:8000/v1,ollama=http://127.0.0.1:11434/v1`; models `vllm/…`",
    ),
    setting(
        "AI_KEY_*",
        "",
        "`AI_KEY_VLLM` is the key of `vllm` in `AI_PROVIDERS`, if it needs one; never shown",
    ),
    setting(
        "AI_FIRST_BYTE",
        "2m",
        "How long an AI provider may be silent before its answer and within it: models think before they speak",
    ),
    setting("AI_TIMEOUT", "10m", "How long one AI call may take in all"),
    setting(
        "AI_RATE",
        "600",
        "AI calls that one client may make through the gateway in any 60 seconds, on each node",
    ),
    setting("AI_MAX_BODY", "16777216", "Largest body of a request to the gateway in bytes; images are in it"),
    setting(
        "AI_LIMITS",
        "",
        "Requests and tokens that a provider allows your key in a minute: `openai=500/200000,groq=30,anthropic=/40000`; calls wait, on all nodes together",
    ),
    setting(
        "AI_ASSUMED_SHARE",
        "10",
        "Percent of a budget's hour, day, week or month that calls of unknown cost may take before AI calls pause; 100: they never do",
    ),
    setting(
        "MAX_COST_PER_JOB",
        "0.35",
        "What one job may cost with all that it starts, in US dollars. A hard limit, in force from the first start; 0 stops all AI calls",
    ),
    setting(
        "MAX_COST_PER_DAY",
        "10.00",
        "What everything may cost in a day (UTC), in US dollars. A hard limit, as above",
    ),
    setting("SECRET_*", "", "`SECRET_NAME` is the value of `{{ secrets.NAME }}` in workflows; never shown"),
];

/// Whether a variable is one of ours.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with("SECRET_")
        || name.starts_with("AI_KEY_")
        || SETTINGS.iter().any(|setting| setting.name == name)
}
