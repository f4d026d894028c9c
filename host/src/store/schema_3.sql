-- Schema 3: what models were used for, by day (since the Unix epoch, UTC), for budgets of principals and for reports.
CREATE TABLE usage (
    tenant TEXT NOT NULL, principal TEXT NOT NULL, day INTEGER NOT NULL, model TEXT NOT NULL, answers INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, estimated_tokens INTEGER NOT NULL, unpriced_tokens INTEGER NOT NULL,
    cost_micro_usd INTEGER NOT NULL, PRIMARY KEY (tenant, principal, day, model)
) STRICT;
