-- Up Migration
-- compatible-with: 000007
-- A link and all its tries are one row: whoever did not get through tries again under the next
-- number, in the same browser, until one try connected an account or the hour of the link is over.
-- So no number of callbacks makes a row.
alter table oauth_flows
  add column app_name text constraint oauth_flows_app_name_fits check (char_length(app_name) between 1 and 80),
  add column attempt integer not null default 0;
comment on column oauth_flows.app_name is 'what the app calls itself, for the page that asks the person';
comment on column oauth_flows.attempt is 'number of the try under way; 0 until the link is followed';
update oauth_flows set attempt = 1 where link_used_at is not null;
