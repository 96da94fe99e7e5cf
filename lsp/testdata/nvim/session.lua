-- A person runs cells, and leaves Neovim while one runs.

Do(function()
  Await('the server', function()
    return Dipls() and vim.lsp.buf_is_attached(0, Dipls().id)
  end)
  Await('lenses', function()
    return Shows(Lenses()[1], 'Run cell · all ranks') and Shows(Lenses()[1], 'Locally')
  end)
  assert(not Shows(Lenses()[7], 'Run'), 'a markdown cell has a lens to run it')

  -- Nothing of the folder runs before a command; that one says what will.
  local running = vim.fn.glob(os.getenv('XDG_RUNTIME_DIR') .. '/dipls/*/node*')
  assert(running == '', 'Python runs already: ' .. running)
  local told = {}
  vim.lsp.handlers['window/showMessage'] = function(_, params)
    told[#told + 1] = params.message
  end

  -- Lines above, in characters of every length, before the run.
  vim.api.nvim_buf_set_lines(0, 0, 0, false, { '# é 日本 🚀𝕏' })
  Press('4Gdlir<Esc>') -- "import" loses its first letter, and gets a wrong one
  Press('4G0ri') -- and the right one again
  vim.api.nvim_win_set_cursor(0, { 5, 0 })
  Press('<Space>r')
  for rank = 0, 2 do
    Await('the output of rank ' .. rank, function()
      return Shows(Output(), ('[%d] hällo 🚀 from rank %d'):format(rank, rank))
    end)
  end
  assert(Shows(told[1], 'from now on dipls runs the cells of '), vim.inspect(told))
  Await('the failure of two ranks', function()
    return Failure('NameError') and Shows(Failure('NameError').message, 'ranks 0,2')
  end)
  local d = Failure('NameError')
  assert(d.lnum == 6, 'the diagnostic is on line ' .. d.lnum + 1)
  assert(d.source == 'dip' and Shows(d.message, "name 'foobar' is not defined"), vim.inspect(d))
  Await('word of the failure in a lens', function()
    return Shows(Lenses()[2], 'NameError')
  end)

  -- The cell is mended: what was said of its failure goes; then a lens runs it, locally.
  vim.api.nvim_buf_set_lines(0, 5, 7, false, {})
  Await('the failure to go', function()
    return not Failure('NameError')
  end)
  Await('the lenses of the new text', function()
    for _, lens in ipairs(vim.lsp.codelens.get(vim.api.nvim_get_current_buf())) do
      if not lens.command then
        return false -- it is new, and will be resolved; Neovim 0.7 cannot offer it before
      end
    end
    return Shows(Lenses()[2], 'Locally')
  end)
  vim.api.nvim_win_set_cursor(0, { 2, 0 })
  vim.ui.select = function(items, o, choose)
    for _, item in ipairs(items) do
      if Shows(o.format_item(item), 'Locally') then
        return choose(item)
      end
    end
    error('there is no lens "Locally"')
  end
  vim.lsp.codelens.run()
  Await('the output of the local run', function()
    return Shows(Output(), 'hällo 🚀 from rank here')
  end)
  Await('the output at the cell', function()
    local d = vim.diagnostic.get(0, { lnum = 1 })[1]
    return d and d.severity == vim.diagnostic.severity.INFO and Shows(d.message, 'hällo 🚀 from rank here')
  end)
  Await('word of success in a lens', function()
    return Shows(Lenses()[2], '✓')
  end)

  -- A long cell is begun.
  vim.fn.search('%% Long')
  Press('<Space>r')
  Await('the long cell', function()
    return Shows(Output(), 'the long cell begins')
  end)
end)
