# ruff: noqa: E501
"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table('access',
    sa.Column('n', SERIAL, autoincrement=True, nullable=False),
    sa.Column('partner', TEXT, nullable=False),
    sa.Column('client', TEXT, nullable=False),
    sa.Column('case_id', TEXT, nullable=False),
    sa.Column('kind', TEXT, nullable=False),
    sa.Column('item_type', TEXT, nullable=False),
    sa.Column('item_id', TEXT, nullable=False),
    sa.Column('since', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('until', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('stamped', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('start', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.PrimaryKeyConstraint('n', name=op.f('pk_access')),
    sa.UniqueConstraint('partner', 'case_id', 'client', 'kind', 'item_id', 'item_type', 'since', name='uq_access_grant')
    )
    op.create_index(op.f('ix_access_case_id'), 'access', ['case_id'], unique=False)
    op.create_index(op.f('ix_access_client'), 'access', ['client'], unique=False)
    op.create_index(op.f('ix_access_partner_client'), 'access', ['partner', 'client'], unique=False)
    op.create_index(op.f('ix_access_partner_item_id'), 'access', ['partner', 'item_id'], unique=False)
    op.create_table('api_key',
    sa.Column('id', TEXT, nullable=False),
    sa.Column('name', TEXT, nullable=False),
    sa.Column('digest', TEXT, nullable=False),
    sa.Column('partner', TEXT, nullable=False),
    sa.Column('user_name', TEXT, nullable=True),
    sa.Column('scopes', TEXT, nullable=False),
    sa.Column('admin', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('created', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('revoked', sa.BigInteger(), autoincrement=False, nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_api_key')),
    sa.UniqueConstraint('digest', name=op.f('uq_api_key_digest'))
    )
    op.create_table('audit',
    sa.Column('n', SERIAL, autoincrement=False, nullable=False),
    sa.Column('batch', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('at', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('partner', TEXT, nullable=False),
    sa.Column('entry', TEXT, nullable=False),
    sa.PrimaryKeyConstraint('n', name=op.f('pk_audit'))
    )
    op.create_index(op.f('ix_audit_at'), 'audit', ['at'], unique=False)
    op.create_index(op.f('ix_audit_partner_n'), 'audit', ['partner', 'n'], unique=False)
    op.create_table('audit_chain',
    sa.Column('batch', SERIAL, autoincrement=False, nullable=False),
    sa.Column('last', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('before', TEXT, nullable=False),
    sa.Column('hash', TEXT, nullable=False),
    sa.PrimaryKeyConstraint('batch', name=op.f('pk_audit_chain'))
    )
    op.create_table('audit_client',
    sa.Column('client', TEXT, nullable=False),
    sa.Column('n', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.PrimaryKeyConstraint('client', 'n', name=op.f('pk_audit_client')),
    sqlite_with_rowid=False
    )
    op.create_table('claim',
    sa.Column('type', TEXT, nullable=False),
    sa.Column('system', TEXT, nullable=False),
    sa.Column('value', TEXT, nullable=False),
    sa.Column('rid', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.PrimaryKeyConstraint('type', 'value', 'system', name=op.f('pk_claim')),
    sqlite_with_rowid=False
    )
    op.create_index(op.f('ix_claim_rid'), 'claim', ['rid'], unique=False)
    op.create_table('counter',
    sa.Column('name', TEXT, nullable=False),
    sa.Column('seq', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('at', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_counter'))
    )
    op.create_table('delivery',
    sa.Column('n', SERIAL, autoincrement=True, nullable=False),
    sa.Column('endpoint', TEXT, nullable=False),
    sa.Column('event', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('lane', TEXT, nullable=False),
    sa.Column('state', TEXT, nullable=False),
    sa.Column('attempts', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('not_before', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('last_status', sa.BigInteger(), autoincrement=False, nullable=True),
    sa.Column('last_problem', TEXT, nullable=True),
    sa.Column('last_at', sa.BigInteger(), autoincrement=False, nullable=True),
    sa.PrimaryKeyConstraint('n', name=op.f('pk_delivery'))
    )
    op.create_index(op.f('ix_delivery_endpoint_n'), 'delivery', ['endpoint', 'n'], unique=False)
    op.create_index(op.f('ix_delivery_event'), 'delivery', ['event'], unique=False)
    op.create_index('ix_delivery_lane_due', 'delivery', ['lane', 'not_before'], unique=False, sqlite_where=sa.text("state = 'ready'"), postgresql_where=sa.text("state = 'ready'"))
    op.create_index('ix_delivery_lane_ready', 'delivery', ['lane', 'n'], unique=False, sqlite_where=sa.text("state = 'ready'"), postgresql_where=sa.text("state = 'ready'"))
    op.create_table('endpoint',
    sa.Column('id', TEXT, nullable=False),
    sa.Column('partner', TEXT, nullable=False),
    sa.Column('disabled', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('doc', TEXT, nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_endpoint'))
    )
    op.create_table('event',
    sa.Column('n', SERIAL, autoincrement=True, nullable=False),
    sa.Column('id', TEXT, nullable=False),
    sa.Column('type', TEXT, nullable=False),
    sa.Column('at', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('seq', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('client', TEXT, nullable=True),
    sa.Column('case_id', TEXT, nullable=True),
    sa.Column('partner', TEXT, nullable=False),
    sa.Column('data', TEXT, nullable=False),
    sa.PrimaryKeyConstraint('n', name=op.f('pk_event')),
    sa.UniqueConstraint('id', name=op.f('uq_event_id'))
    )
    op.create_index(op.f('ix_event_at'), 'event', ['at'], unique=False)
    op.create_table('exchange',
    sa.Column('n', SERIAL, autoincrement=True, nullable=False),
    sa.Column('partner', TEXT, nullable=False),
    sa.Column('at', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('direction', TEXT, nullable=False),
    sa.Column('verb', TEXT, nullable=False),
    sa.Column('ref', TEXT, nullable=False),
    sa.Column('remote', TEXT, nullable=False),
    sa.Column('status', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('outcome', TEXT, nullable=False),
    sa.Column('correlation', TEXT, nullable=False),
    sa.Column('detail', TEXT, nullable=False),
    sa.PrimaryKeyConstraint('n', name=op.f('pk_exchange'))
    )
    op.create_index(op.f('ix_exchange_partner_n'), 'exchange', ['partner', 'n'], unique=False)
    op.create_table('ix_date',
    sa.Column('rid', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('n', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('name', TEXT, nullable=False),
    sa.Column('low', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('high', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.PrimaryKeyConstraint('rid', 'n', name=op.f('pk_ix_date')),
    sqlite_with_rowid=False
    )
    op.create_index(op.f('ix_ix_date_name_low_high_rid'), 'ix_date', ['name', 'low', 'high', 'rid'], unique=False)
    op.create_table('ix_quantity',
    sa.Column('rid', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('n', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('name', TEXT, nullable=False),
    sa.Column('low', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('system', TEXT, nullable=False),
    sa.Column('code', TEXT, nullable=False),
    sa.Column('text', TEXT, nullable=False),
    sa.PrimaryKeyConstraint('rid', 'n', name=op.f('pk_ix_quantity')),
    sqlite_with_rowid=False
    )
    op.create_index(op.f('ix_ix_quantity_name_low_rid'), 'ix_quantity', ['name', 'low', 'rid'], unique=False)
    op.create_table('ix_reference',
    sa.Column('rid', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('n', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('name', TEXT, nullable=False),
    sa.Column('system', TEXT, nullable=False),
    sa.Column('code', TEXT, nullable=False),
    sa.Column('text', TEXT, nullable=False),
    sa.PrimaryKeyConstraint('rid', 'n', name=op.f('pk_ix_reference')),
    sqlite_with_rowid=False
    )
    op.create_index(op.f('ix_ix_reference_code_name_system_rid'), 'ix_reference', ['code', 'name', 'system', 'rid'], unique=False)
    op.create_index('ix_ix_reference_name_text', 'ix_reference', ['name', 'text', 'rid'], unique=False, sqlite_where=sa.text("text != ''"), postgresql_where=sa.text("text != ''"))
    op.create_table('ix_string',
    sa.Column('rid', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('n', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('name', TEXT, nullable=False),
    sa.Column('text', TEXT, nullable=False),
    sa.Column('code', TEXT, nullable=False),
    sa.PrimaryKeyConstraint('rid', 'n', name=op.f('pk_ix_string')),
    sqlite_with_rowid=False
    )
    op.create_index(op.f('ix_ix_string_name_text_rid'), 'ix_string', ['name', 'text', 'rid'], unique=False)
    op.create_table('ix_token',
    sa.Column('rid', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('n', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('name', TEXT, nullable=False),
    sa.Column('system', TEXT, nullable=False),
    sa.Column('code', TEXT, nullable=False),
    sa.Column('text', TEXT, nullable=False),
    sa.PrimaryKeyConstraint('rid', 'n', name=op.f('pk_ix_token')),
    sqlite_with_rowid=False
    )
    op.create_index(op.f('ix_ix_token_name_code_system_rid'), 'ix_token', ['name', 'code', 'system', 'rid'], unique=False)
    op.create_table('lane',
    sa.Column('key', TEXT, nullable=False),
    sa.Column('target', TEXT, nullable=False),
    sa.Column('kind', TEXT, nullable=False),
    sa.Column('fifo', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('waits_for', TEXT, nullable=False),
    sa.Column('owner', TEXT, nullable=True),
    sa.Column('lease', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('turn', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('not_before', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('fence', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('fails', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_lane'))
    )
    op.create_index(op.f('ix_lane_turn'), 'lane', ['turn'], unique=False)
    op.create_table('link',
    sa.Column('partner', TEXT, nullable=False),
    sa.Column('ref', TEXT, nullable=False),
    sa.Column('type', TEXT, nullable=False),
    sa.Column('remote', TEXT, nullable=True),
    sa.Column('etag', TEXT, nullable=True),
    sa.Column('updated', TEXT, nullable=True),
    sa.Column('stored', TEXT, nullable=True),
    sa.Column('sent', TEXT, nullable=True),
    sa.Column('pend', TEXT, nullable=True),
    sa.Column('state', TEXT, nullable=False),
    sa.PrimaryKeyConstraint('partner', 'ref', name=op.f('pk_link'))
    )
    op.create_index(op.f('ix_link_partner_remote_type'), 'link', ['partner', 'remote', 'type'], unique=False)
    op.create_table('mark',
    sa.Column('n', SERIAL, autoincrement=True, nullable=False),
    sa.Column('partner', TEXT, nullable=False),
    sa.Column('ref', TEXT, nullable=False),
    sa.Column('lane', TEXT, nullable=False),
    sa.Column('rev', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('at', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('correlation', TEXT, nullable=False),
    sa.Column('parked', TEXT, nullable=True),
    sa.PrimaryKeyConstraint('n', name=op.f('pk_mark')),
    sa.UniqueConstraint('partner', 'ref', name=op.f('uq_mark_partner_ref'))
    )
    op.create_index('ix_mark_lane_parked', 'mark', ['lane'], unique=False, sqlite_where=sa.text('parked IS NOT NULL'), postgresql_where=sa.text('parked IS NOT NULL'))
    op.create_index('ix_mark_lane_ready', 'mark', ['lane', 'n'], unique=False, sqlite_where=sa.text('parked IS NULL'), postgresql_where=sa.text('parked IS NULL'))
    op.create_table('message',
    sa.Column('n', SERIAL, autoincrement=True, nullable=False),
    sa.Column('id', TEXT, nullable=False),
    sa.Column('partner', TEXT, nullable=False),
    sa.Column('kind', TEXT, nullable=False),
    sa.Column('key', TEXT, nullable=False),
    sa.Column('digest', TEXT, nullable=False),
    sa.Column('received', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('raw', sa.LargeBinary(), nullable=True),
    sa.Column('head', sa.LargeBinary(), nullable=False),
    sa.Column('content_type', TEXT, nullable=False),
    sa.Column('control_id', TEXT, nullable=False),
    sa.Column('event', TEXT, nullable=False),
    sa.Column('state', TEXT, nullable=False),
    sa.Column('code', TEXT, nullable=False),
    sa.Column('answer', sa.LargeBinary(), nullable=False),
    sa.Column('became', TEXT, nullable=False),
    sa.Column('problems', TEXT, nullable=False),
    sa.Column('client', TEXT, nullable=True),
    sa.Column('replays', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.PrimaryKeyConstraint('n', name=op.f('pk_message')),
    sa.UniqueConstraint('id', name=op.f('uq_message_id'))
    )
    op.create_index(op.f('ix_message_client'), 'message', ['client'], unique=False)
    op.create_index(op.f('ix_message_control_id'), 'message', ['control_id'], unique=False)
    op.create_index(op.f('ix_message_partner_key'), 'message', ['partner', 'key'], unique=False)
    op.create_index(op.f('ix_message_received'), 'message', ['received'], unique=False)
    op.create_index(op.f('ix_message_state'), 'message', ['state'], unique=False)
    op.create_table('partner',
    sa.Column('name', TEXT, nullable=False),
    sa.Column('paused', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('doc', TEXT, nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_partner'))
    )
    op.create_table('resource',
    sa.Column('rid', SERIAL, autoincrement=False, nullable=False),
    sa.Column('vid', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('type', TEXT, nullable=False),
    sa.Column('id', TEXT, nullable=False),
    sa.Column('version', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('updated', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('deleted', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('client', TEXT, nullable=True),
    sa.Column('case_id', TEXT, nullable=True),
    sa.Column('creator', TEXT, nullable=False),
    sa.Column('sensitive', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('visible_from', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('indexed', TEXT, nullable=False),
    sa.PrimaryKeyConstraint('rid', name=op.f('pk_resource')),
    sa.UniqueConstraint('id', 'type', name=op.f('uq_resource_id_type'))
    )
    op.create_index(op.f('ix_resource_case_id_type'), 'resource', ['case_id', 'type'], unique=False)
    op.create_index(op.f('ix_resource_client_type'), 'resource', ['client', 'type'], unique=False)
    op.create_index('ix_resource_creator_type', 'resource', ['creator', 'type'], unique=False, sqlite_where=sa.text("creator != 'hub'"), postgresql_where=sa.text("creator != 'hub'"))
    op.create_index(op.f('ix_resource_type_updated_rid'), 'resource', ['type', 'updated', 'rid'], unique=False)
    op.create_table('review',
    sa.Column('n', SERIAL, autoincrement=True, nullable=False),
    sa.Column('id', TEXT, nullable=False),
    sa.Column('kind', TEXT, nullable=False),
    sa.Column('key', TEXT, nullable=False),
    sa.Column('what', TEXT, nullable=False),
    sa.Column('hint', TEXT, nullable=False),
    sa.Column('subject', TEXT, nullable=True),
    sa.Column('client', TEXT, nullable=True),
    sa.Column('case_id', TEXT, nullable=True),
    sa.Column('partner', TEXT, nullable=True),
    sa.Column('holds', TEXT, nullable=True),
    sa.Column('detail', TEXT, nullable=False),
    sa.Column('opened', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('message', TEXT, nullable=True),
    sa.Column('settled', sa.BigInteger(), autoincrement=False, nullable=True),
    sa.Column('settled_by', TEXT, nullable=True),
    sa.Column('resolution', TEXT, nullable=True),
    sa.PrimaryKeyConstraint('n', name=op.f('pk_review')),
    sa.UniqueConstraint('id', name=op.f('uq_review_id'))
    )
    op.create_index(op.f('ix_review_case_id'), 'review', ['case_id'], unique=False)
    op.create_index(op.f('ix_review_client'), 'review', ['client'], unique=False)
    op.create_index('ix_review_open_subject', 'review', ['subject'], unique=False, sqlite_where=sa.text('settled IS NULL'), postgresql_where=sa.text('settled IS NULL'))
    op.create_index('uq_review_open_key', 'review', ['key'], unique=True, sqlite_where=sa.text('settled IS NULL'), postgresql_where=sa.text('settled IS NULL'))
    op.create_table('secret',
    sa.Column('name', TEXT, nullable=False),
    sa.Column('sealed', TEXT, nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_secret'))
    )
    op.create_table('sync_cursor',
    sa.Column('partner', TEXT, nullable=False),
    sa.Column('type', TEXT, nullable=False),
    sa.Column('value', TEXT, nullable=False),
    sa.PrimaryKeyConstraint('partner', 'type', name=op.f('pk_sync_cursor'))
    )
    op.create_table('version',
    sa.Column('vid', SERIAL, autoincrement=False, nullable=False),
    sa.Column('rid', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('type', TEXT, nullable=False),
    sa.Column('version', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('updated', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('deleted', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('method', TEXT, nullable=False),
    sa.Column('mark', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('text', TEXT, nullable=False),
    sa.PrimaryKeyConstraint('vid', name=op.f('pk_version')),
    sa.UniqueConstraint('rid', 'version', name=op.f('uq_version_rid_version'))
    )
    op.create_index(op.f('ix_version_updated_type'), 'version', ['updated', 'type'], unique=False)
    op.create_table('visit_event',
    sa.Column('n', SERIAL, autoincrement=True, nullable=False),
    sa.Column('visit', TEXT, nullable=False),
    sa.Column('message', TEXT, nullable=False),
    sa.Column('event', TEXT, nullable=False),
    sa.Column('at', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('facts', TEXT, nullable=False),
    sa.PrimaryKeyConstraint('n', name=op.f('pk_visit_event'))
    )
    op.create_index(op.f('ix_visit_event_visit'), 'visit_event', ['visit'], unique=False)
    op.execute("INSERT INTO counter (name, seq, at) VALUES ('commit', 0, 0)")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
